//! Families and samples as text, in both formats that Prometheus reads: text 0.0.4 and OpenMetrics 1.0.
//!
//! Written by hand because the `prometheus` crate speaks only the first, and copies every label of every sample. The
//! rules are those of `docs/instrumenting/exposition_formats.md` and `docs/specs/om/open_metrics_spec.md` of
//! prometheus/docs. Which samples there are, and in which order, is the caller's.

use std::fmt::Write;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::negotiate::Format;

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A page in the making.
#[derive(Debug)]
pub(super) struct Encoder {
    format: Format,
    page: String,
}

impl Encoder {
    pub(super) fn new(format: Format) -> Self {
        let page = String::new();
        Self { format, page }
    }

    /// Begins a family; its samples follow, and no other family's until they are done.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        // OpenMetrics names a counter's family without the suffix that its samples bear.
        let family = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        self.page.extend(["# HELP ", family, " "]);
        push_escaped(&mut self.page, help, self.format == Format::OpenMetrics);
        self.page.extend(["\n# TYPE ", family, " ", kind.word(), "\n"]);
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit(family)) {
            self.page.extend(["# UNIT ", family, " ", unit, "\n"]);
        }
    }

    /// One sample; `labels` as [`push_label`] makes them.
    pub(super) fn sample(&mut self, name: &str, labels: &str, value: f64) {
        self.begin(name, labels);
        self.end(value);
    }

    /// One sample of a step: the channel's or the dataset's labels, the step, and perhaps one more label, whose value
    /// needs no escape.
    pub(super) fn step(&mut self, name: &str, labels: &str, step: usize, more: Option<(&str, &str)>, value: f64) {
        self.begin(name, labels);
        self.page.pop(); // the brace: more labels follow
        self.page.push_str(",step=\"");
        push_integer(&mut self.page, step);
        if let Some((label, word)) = more {
            self.page.extend(["\",", label, "=\"", word]);
        }
        self.page.push_str("\"}");
        self.end(value);
    }

    /// A family of the registry, with the metrics that `keep` lets through.
    pub(super) fn gathered(&mut self, family: &MetricFamily, keep: impl Fn(&[LabelPair]) -> bool) {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => Kind::Counter,
            MetricType::HISTOGRAM => Kind::Histogram,
            _ => Kind::Gauge,
        };
        let metrics: Vec<&Metric> = family.get_metric().iter().filter(|m| keep(m.get_label())).collect();
        if metrics.is_empty() {
            return;
        }
        self.family(family.name(), kind, family.help());
        for metric in metrics {
            let labels = label_text(metric.get_label());
            match kind {
                Kind::Counter => self.sample(family.name(), &labels, metric.get_counter().get_value()),
                Kind::Gauge => self.sample(family.name(), &labels, metric.get_gauge().get_value()),
                Kind::Histogram => self.histogram(family.name(), &labels, metric.get_histogram()),
            }
        }
    }

    /// The page; `last`: nothing follows it.
    pub(super) fn finish(mut self, last: bool) -> String {
        if last && self.format == Format::OpenMetrics {
            self.page.push_str("# EOF\n");
        }
        self.page
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for counted in histogram.get_bucket() {
            self.bucket(&bucket, labels, counted.upper_bound(), counted.cumulative_count());
        }
        let count = histogram.get_sample_count();
        self.bucket(&bucket, labels, f64::INFINITY, count);
        self.sample(&format!("{name}_sum"), labels, histogram.get_sample_sum());
        self.sample(&format!("{name}_count"), labels, count as f64);
    }

    /// One bucket of a histogram: what was counted up to its bound.
    pub(super) fn bucket(&mut self, name: &str, labels: &str, bound: f64, count: u64) {
        let mut labels = labels.to_owned();
        let mut le = String::new();
        push_float(&mut le, bound);
        // OpenMetrics wants a floating point number here: 1.0, not 1.
        if self.format == Format::OpenMetrics && bound.is_finite() && !le.contains(['.', 'e']) {
            le.push_str(".0");
        }
        push_label(&mut labels, "le", &le);
        self.sample(name, &labels, count as f64);
    }

    fn begin(&mut self, name: &str, labels: &str) {
        self.page.push_str(name);
        if !labels.is_empty() {
            self.page.extend(["{", labels, "}"]);
        }
    }

    fn end(&mut self, value: f64) {
        self.page.push(' ');
        push_float(&mut self.page, value);
        self.page.push('\n');
    }
}

/// Adds `name="value"` to a list of labels.
pub(super) fn push_label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.extend([name, "=\""]);
    push_escaped(labels, value, true);
    labels.push('"');
}

fn label_text(pairs: &[LabelPair]) -> String {
    let mut labels = String::new();
    for pair in pairs {
        push_label(&mut labels, pair.name(), pair.value());
    }
    labels
}

/// Backslash and newline everywhere, the quote where the format asks for it; every other character stands as it is.
fn push_escaped(out: &mut String, text: &str, quote: bool) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quote => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// The shortest text that reads back as the same number, in Go's spelling: `1e+21`, `1e-07`, `+Inf`, `NaN`.
fn push_float(out: &mut String, value: f64) {
    let size = value.abs();
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value == 0.0 || (1e-4..1e21).contains(&size) {
        write!(out, "{value}").expect("a String takes everything");
    } else {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').expect("`{:e}` writes an exponent");
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        write!(out, "{digits}e{sign}{exponent:0>2}").expect("a String takes everything");
    }
}

fn push_integer(out: &mut String, value: usize) {
    write!(out, "{value}").expect("a String takes everything");
}

/// The unit that a family's name ends in, by Prometheus' rule for names.
fn unit(family: &str) -> Option<&'static str> {
    let (_, last) = family.rsplit_once('_')?;
    ["seconds", "bytes"].into_iter().find(|unit| *unit == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_shortest_text_that_reads_back_in_the_spelling_of_go() {
        // Go: strconv.FormatFloat(x, 'g', -1, 64) with the exponent bounds of fmt's %v.
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1763921715.123, "1763921715.123"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001234, "1.234e-05"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            let mut text = String::new();
            push_float(&mut text, value);
            assert_eq!(text, expected);
            assert!(value.is_nan() || text.parse() == Ok(value), "{text}");
        }
    }

    #[test]
    fn a_bucket_bound_is_a_float_in_openmetrics() {
        for (format, expected) in [
            (Format::Text, "h_bucket{le=\"10\"} 2\n"),
            (Format::OpenMetrics, "h_bucket{le=\"10.0\"} 2\n"),
        ] {
            let mut encoder = Encoder::new(format);
            encoder.bucket("h_bucket", "", 10.0, 2);
            assert_eq!(encoder.finish(false), expected);
        }
    }

    #[test]
    fn a_help_keeps_its_quotes_in_text_and_escapes_them_in_openmetrics() {
        for (format, expected) in [
            (
                Format::Text,
                "# HELP x_total a \"b\" \\\\ \\n\n# TYPE x_total counter\n",
            ),
            (Format::OpenMetrics, "# HELP x a \\\"b\\\" \\\\ \\n\n# TYPE x counter\n"),
        ] {
            let mut encoder = Encoder::new(format);
            encoder.family("x_total", Kind::Counter, "a \"b\" \\ \n");
            assert_eq!(encoder.finish(false), expected);
        }
    }
}
