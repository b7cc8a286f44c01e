//! Methods by the names that the command line has for them.

use std::fmt;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use forecastd_models::{Member, Method};

/// What is backtested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tested {
    /// The published procedure, one auto-regression for all channels of a panel.
    Reference,
    /// What the service and `fit` have too.
    Family(Method),
}

const REFERENCE: &str = "reference";

impl Tested {
    /// Takes the names, and lists them to whoever gives another.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        let names = Method::all().map(Method::name).chain([REFERENCE]);
        PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
            REFERENCE => Ok(Self::Reference),
            name => name.parse().map(Self::Family),
        })
    }

    /// What is chosen from; nothing for the published procedure.
    pub(super) fn members(self) -> Vec<Member> {
        match self {
            Self::Reference => Vec::new(),
            Self::Family(method) => method.members(),
        }
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => REFERENCE,
            Self::Family(method) => method.name(),
        })
    }
}
