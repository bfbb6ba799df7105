//! Reading an agent's metrics as Prometheus does: one request, one answer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Its header fields, as they came.
    pub head: String,
    /// What it says.
    pub body: String,
}

impl Answer {
    /// The value of a series, given as it is written: `name{label="value"}`.
    pub fn value(&self, series: &str) -> Option<f64> {
        let line = self.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().expect("a value is a number"))
    }

    /// The values of all series of a family that have these words in their labels.
    pub fn values(&self, family: &str, words: &[&str]) -> Vec<f64> {
        let matching = |line: &&str| {
            let labels = line.strip_prefix(family).and_then(|rest| rest.split_once('}')).map(|(it, _)| it);
            labels.is_some_and(|labels| {
                labels.starts_with('{') && words.iter().all(|word| labels.contains(word))
            })
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok());
        self.body.lines().filter(matching).filter_map(value).collect()
    }
}

/// Asks for a path on loopback, with further header lines.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub fn get(port: u16, path: &str, headers: &str) -> io::Result<Answer> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
}

/// Sends these bytes and reads the answer to its end.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub fn ask(port: u16, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Scrapes until the answer is as wanted, and gives it.
///
/// # Panics
/// When that does not come; `what` names it.
pub fn until(port: u16, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let mut last = None;
    let found = wait::within(wait::LIMIT, || {
        let answer = get(port, "/metrics", "").ok()?;
        if wanted(&answer) {
            return Some(answer);
        }
        last = Some(answer);
        None
    });
    found.unwrap_or_else(|| panic!("waited in vain for {what}; the last scrape: {last:#?}"))
}
