//! Methods by the names that the command line has for them.

use std::fmt;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use forecastd_models::Member;

/// What is backtested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// The published procedure, one auto-regression for all channels of a panel.
    Reference,
    /// A combination of the family.
    Auto,
    /// One of the family.
    Member(Member),
}

impl Method {
    /// Takes the names, and lists them to whoever gives another.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        let names = ["auto", "reference"].into_iter().chain(Member::ALL.map(Member::name));
        PossibleValuesParser::new(names).map(|name| match name.as_str() {
            "auto" => Self::Auto,
            "reference" => Self::Reference,
            member => Self::Member(member.parse().expect("a name from the list")),
        })
    }

    /// What is chosen from; nothing for the published procedure.
    pub(super) fn members(self) -> Vec<Member> {
        match self {
            Self::Reference => Vec::new(),
            Self::Auto => Member::AUTO.to_vec(),
            Self::Member(member) => vec![member],
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference => f.write_str("reference"),
            Self::Auto => f.write_str("auto"),
            Self::Member(member) => member.fmt(f),
        }
    }
}
