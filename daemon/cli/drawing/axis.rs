//! From numbers to places in a picture, with round numbers along its edge.

/// A range of numbers laid over a range of pixels.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// Covers `low` to `high`, drawn from pixel `from` to pixel `to`, with about so many ticks. What does not vary gets
    /// a range around itself.
    pub(in crate::cli) fn new(low: f64, high: f64, from: f64, to: f64, ticks: usize) -> Self {
        let (mut low, mut high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        if high - low <= high.abs().max(low.abs()) * 1e-9 {
            let around = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
            (low, high) = (low - around, high + around);
        }
        let step = round_step((high - low) / ticks as f64);
        Self {
            low,
            high,
            from,
            to,
            step,
        }
    }

    /// The same, both ends moved out to the next tick.
    pub(in crate::cli) fn widened(mut self) -> Self {
        self.low = (self.low / self.step + 1e-9).floor() * self.step;
        self.high = (self.high / self.step - 1e-9).ceil() * self.step;
        self
    }

    /// The same, with ticks at whole numbers only.
    pub(in crate::cli) fn whole(mut self) -> Self {
        self.step = self.step.max(1.0);
        self
    }

    /// Where a number is.
    pub(in crate::cli) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round numbers within the range, each with its text.
    pub(in crate::cli) fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.low / self.step - 1e-9).ceil() as i64;
        let last = (self.high / self.step + 1e-9).floor() as i64;
        let tick = |number: i64| number as f64 * self.step;
        (first..=last)
            .map(|number| (tick(number), self.text(tick(number))))
            .collect()
    }

    fn text(&self, value: f64) -> String {
        let largest = self.low.abs().max(self.high.abs());
        if !(1e-4..1e7).contains(&largest) {
            return format!("{value:.1e}");
        }
        let decimals = (-(self.step.log10() + 1e-9).floor()).max(0.0) as usize;
        grouped(&format!("{value:.decimals$}"))
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let mut steps = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    steps.find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// A number with a minus of its own, and thousands apart by a thin space.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("−", digits));
    if digits.len() < 5 {
        return format!("{sign}{digits}{rest}");
    }
    let mut text = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64) -> Vec<String> {
        let axis = Axis::new(low, high, 0.0, 100.0, 5).widened();
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_numbers() {
        assert_eq!(texts(0.0, 1.3), ["0.0", "0.5", "1.0", "1.5"]);
        assert_eq!(texts(-3.0, 41.0), ["−10", "0", "10", "20", "30", "40", "50"]);
        let thousands = [
            "0",
            "5000",
            "10\u{2009}000",
            "15\u{2009}000",
            "20\u{2009}000",
            "25\u{2009}000",
        ];
        assert_eq!(texts(0.0, 23_000.0), thousands);
        assert_eq!(
            texts(0.021, 0.029),
            ["0.020", "0.022", "0.024", "0.026", "0.028", "0.030"]
        );
    }

    #[test]
    fn odd_ranges_have_places_too() {
        for (low, high) in [
            (3.0, 3.0),
            (0.0, 0.0),
            (f64::INFINITY, f64::NEG_INFINITY),
            (-1e300, 1e300),
        ] {
            let axis = Axis::new(low, high, 0.0, 100.0, 5).widened();
            assert!(axis.at(low.clamp(0.0, 1.0)).is_finite(), "{low} {high}");
            assert!((2..12).contains(&axis.ticks().len()), "{low} {high}");
        }
    }

    #[test]
    fn the_ends_are_at_the_edges() {
        let axis = Axis::new(0.0, 10.0, 200.0, 0.0, 5);
        assert_eq!((axis.at(0.0), axis.at(5.0), axis.at(10.0)), (200.0, 100.0, 0.0));
    }
}
