//! Who may change something: whoever sends the token that stands in a file of the machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};

use crate::publish::http::error::ApiError;

/// Bytes of the file that are read.
const MOST: u64 = 4096;

/// Letters of a token, at least: fewer can be guessed.
const FEWEST: usize = 16;

/// Lets those pass who send the token. The file is read anew, so that a token can be changed at any time.
pub(super) fn check(file: Option<&Path>, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(file) = file else {
        let message = "models are not changed over HTTP here: http.admin_token_file is not set";
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    };
    let token = read(file).map_err(|error| {
        tracing::error!(file = %file.display(), %error, "http.admin_token_file cannot be read");
        ApiError::new(
            StatusCode::FORBIDDEN,
            "the file of the token cannot be read; the log says why",
        )
    })?;
    if token.len() < FEWEST {
        let message = format!("the token of this machine has fewer than {FEWEST} letters");
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    let sent = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let sent = sent
        .and_then(|value| value.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    // Hashes are compared in constant time, so nothing tells how much of a guess was right.
    if blake3::hash(sent) == blake3::hash(token.as_bytes()) {
        return Ok(());
    }
    let message = "the token is missing or wrong: Authorization: Bearer TOKEN";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, message))
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MOST).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}
