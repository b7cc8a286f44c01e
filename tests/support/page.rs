use std::collections::BTreeMap;

/// The samples of a scraped page, by `name{labels}` as they stand.
pub struct Page(BTreeMap<String, f64>);

impl Page {
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(
            samples
                .map(|line| line.rsplit_once(' ').unwrap())
                .map(|(k, v)| (k.to_owned(), v.parse().unwrap()))
                .collect(),
        )
    }

    /// The one sample of this name with exactly these labels, in any order.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples(name).find_map(|(text, value)| {
            let all = labels
                .iter()
                .all(|(label, wanted)| text.contains(&format!("{label}=\"{wanted}\"")));
            let count = text.matches("=\"").count();
            (all && count == labels.len()).then_some(value)
        })
    }

    /// The samples of a family, with their labels as text.
    pub fn samples<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(key, value)| {
            let rest = key.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{')).then_some((rest, *value))
        })
    }

    pub fn count(&self, name: &str) -> usize {
        self.samples(name).count()
    }

    pub fn sum(&self, name: &str) -> f64 {
        self.samples(name).map(|(_, value)| value).sum()
    }

    /// seen, committed, duplicate, rejected; the law is checked here, for every page that a story looks at.
    pub fn rows(&self) -> (u64, u64, u64, u64) {
        let total = |part: &str| self.sum(&format!("forecastd_rows_{part}_total")) as u64;
        let (seen, committed, duplicate, rejected) =
            (total("seen"), total("committed"), total("duplicate"), total("rejected"));
        assert_eq!(seen, committed + duplicate + rejected, "rows are conserved");
        (seen, committed, duplicate, rejected)
    }
}
