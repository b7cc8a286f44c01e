//! Text and numbers in pages for people.

use std::fmt::{self, Write};

/// Text as HTML text or attribute value. Control characters, which HTML does not allow, are shown as a replacement.
pub(crate) struct Escaped<'t>(pub(crate) &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(character)?,
                control if control.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A number at a glance: five digits that count.
pub(crate) struct Figure(pub(crate) f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size != 0.0 && !(1e-4..1e9).contains(&size) {
            return write!(f, "{:.4e}", self.0);
        }
        let whole_digits = if size < 1.0 { 1 } else { size.log10() as usize + 1 };
        write!(f, "{:.*}", 5_usize.saturating_sub(whole_digits), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_at_a_glance() {
        for (value, shown) in [
            (0.0, "0.0000"),
            (0.123456789, "0.1235"),
            (-9.87654321, "-9.8765"),
            (1234.5678, "1234.6"),
            (123_456_789.4, "123456789"),
            (5e-9, "5.0000e-9"),
            (-1e300, "-1.0000e300"),
        ] {
            assert_eq!(Figure(value).to_string(), shown);
        }
    }

    #[test]
    fn hostile_text_is_text() {
        let hostile = "<script>alert('x')</script> \"&\u{1b}[31m\n";
        let shown = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;&amp;\u{fffd}[31m\n";
        assert_eq!(Escaped(hostile).to_string(), shown);
    }
}
