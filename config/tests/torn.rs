//! Texts that nobody would write on purpose.

use proptest::prelude::*;

use super::{EXAMPLE, parse, uncommented};

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[a-z0-9:,&*<!{}\\[\\]\"'#|>~ \n-]*") {
        let _ = parse(&text);
    }

    /// Texts that come nearer to a configuration: lines of the example, some lost, some in another order.
    #[test]
    fn no_torn_example_panics(picks in prop::collection::vec((0_usize..200, prop::bool::weighted(0.1)), 0..120)) {
        let lines: Vec<_> = EXAMPLE.lines().collect();
        let torn = picks.iter().enumerate().map(|(i, (pick, jump))| if *jump { *pick } else { i });
        let text: Vec<_> = torn.filter_map(|line| lines.get(line).copied()).collect();
        let _ = parse(&uncommented(&text.join("\n")));
    }

    /// Any scalar, list or mapping in the place of any value of the example.
    #[test]
    fn no_value_in_a_wrong_place_panics(line in 0_usize..150, value in "[-0-9a-zA-Z.]{0,6}|\\[[0-9a-z.,]{0,9}\\]|\\{[a-z]: [0-9]\\}") {
        let text = uncommented(EXAMPLE);
        let replaced = text.lines().enumerate().map(|(i, old)| match old.split_once(": ") {
            Some((key, _)) if i == line => format!("{key}: {value}\n"),
            _ => format!("{old}\n"),
        });
        let _ = parse(&replaced.collect::<String>());
    }
}
