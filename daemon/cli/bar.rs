//! A bar on a terminal, and nothing where there is none.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Of a length that nobody knows yet; hidden where nobody looks.
pub(super) fn bar(template: &str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::no_length()
    } else {
        ProgressBar::hidden()
    };
    bar.with_style(style(template))
}

/// What a bar shows.
pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of our own")
}
