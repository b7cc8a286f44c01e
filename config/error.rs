//! What is wrong with a configuration, said to the person who wrote it.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// The key: `datasets[1].forecast.steps[2]`. Where the YAML itself is broken, the place: `line 3, column 7`. Empty
    /// where the file as a whole is meant.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
    /// What would be right, where that can be guessed.
    pub hint: Option<String>,
}

/// What is wrong with a value, before anyone knows under which key it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(crate) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    pub(crate) fn at(self, path: impl Into<String>) -> ConfigError {
        ConfigError {
            path: path.into(),
            message: self.message,
            hint: self.hint,
        }
    }
}

impl fmt::Display for ConfigError {
    /// `datasets[0].name: is required (a word for its metrics and files)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a file: at least one error, in the order of reading.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigErrors {
    file: Option<PathBuf>,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(crate) fn new(errors: Vec<ConfigError>) -> Self {
        debug_assert!(!errors.is_empty(), "a refusal has a reason");
        Self { file: None, errors }
    }

    /// The same errors, told of this file.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..self
        }
    }

    /// The errors one by one, for programs.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    /// One a line, each with the file's name in front, so that a line cut out of a log still tells the whole story.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = &self.file {
                write!(f, "{}: ", file.display())?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &str, message: &str, hint: Option<&str>) -> ConfigError {
        ConfigError {
            path: path.to_owned(),
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        }
    }

    #[test]
    fn errors_are_shown_one_a_line_with_the_file_in_front() {
        let errors = ConfigErrors::new(vec![
            error("", "the file is empty", None),
            error("http.listen", "no port", Some("write one")),
        ]);
        assert_eq!(
            errors.to_string(),
            "the file is empty\nhttp.listen: no port (write one)"
        );
        assert_eq!(
            errors.in_file(Path::new("/etc/f.yaml")).to_string(),
            "/etc/f.yaml: the file is empty\n/etc/f.yaml: http.listen: no port (write one)"
        );
    }
}
