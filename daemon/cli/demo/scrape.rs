//! A scrape, the way Prometheus does it, and the few numbers that the demo shows.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One page of `/metrics`.
#[derive(Clone, Debug)]
pub(super) struct Page(String);

impl Page {
    /// Fetches the page.
    pub(super) async fn fetch(address: SocketAddr) -> anyhow::Result<Self> {
        timeout(Duration::from_secs(5), Self::request(address))
            .await
            .context("the endpoint does not answer")?
    }

    async fn request(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{}", head.lines().next().unwrap_or_default());
        }
        Ok(Self(body.to_owned()))
    }

    /// The samples of a family, as (labels, value).
    pub(super) fn samples<'a>(&'a self, family: &str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(family)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.parse().ok()?))
        })
    }

    /// The sum over a family.
    pub(super) fn sum(&self, family: &str) -> f64 {
        self.samples(family).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_their_whole_name() {
        let page = Page("# TYPE a gauge\na{x=\"} 1\"} 2.5\na_b 7\na 3\n".to_owned());
        assert_eq!(page.samples("a").collect::<Vec<_>>(), [("x=\"} 1\"", 2.5), ("", 3.0)]);
        assert_eq!(page.sum("a_b"), 7.0);
    }
}
