//! What plugins may use: `[plugins.limits]` for all of them, `[plugin.NAME]` for one.

use std::time::Duration;

use holdfast_runtime::Limits;

use super::Check;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{Fields, Spanned};
use crate::units;

/// Less than this no component begins with.
const LEAST_MEMORY_BYTES: u64 = 1 << 20;
/// The agent holds a report several times over while it takes it in.
const MOST_REPORT_BYTES: u64 = 64 << 20;
/// A report says something.
const LEAST_REPORT_BYTES: u64 = 1 << 10;
/// Longer than any chain should take.
const MOST_TIME: Duration = Duration::from_hours(24);

impl Check<'_> {
    /// The limits that a table gives, the rest being as in `defaults`. None: something is wrong and has been told of.
    pub(super) fn limits(&mut self, mut fields: Fields, defaults: Option<&Limits>) -> Option<Limits> {
        let base = defaults.cloned().unwrap_or_default();
        let memory = fields.size("memory");
        let timeout = fields.duration("timeout");
        let cpu = fields.duration("cpu");
        let report = fields.size("report");
        let path = fields.path.clone();
        let sound = [
            self.at_least(&path, "memory", memory.as_ref(), LEAST_MEMORY_BYTES),
            self.at_least(&path, "report", report.as_ref(), LEAST_REPORT_BYTES),
            self.at_most(&path, "report", report.as_ref(), MOST_REPORT_BYTES),
            self.not_too_long(&path, "timeout", timeout.as_ref()),
            self.not_too_long(&path, "cpu", cpu.as_ref()),
        ];
        let longest = timeout.as_ref().map_or(base.timeout, |timeout| timeout.value);
        if let Some(cpu) = cpu.as_ref().filter(|cpu| cpu.value > longest) {
            self.tell(
                Diagnostic::warning(format!(
                    "`{path}.cpu` is more than the call's `timeout`, which ends it first"
                ))
                .at(cpu.span.clone())
                .hint("leave it out: a call may compute as long as it may take"),
            );
        }
        // Who grants a call more time means time to compute; a limit of its own is kept unless the time is less.
        let cpu = match (cpu, &timeout) {
            (Some(cpu), _) => cpu.value,
            (None, Some(_)) => longest,
            (None, None) => base.cpu,
        };
        let size = |given: Option<Spanned<u64>>, base| given.map_or(base, |given| given.value);
        let mut number = |key, base| fields.integer(key).map_or(base, |given| given.value.unsigned_abs());
        let limits = Limits {
            memory_bytes: size(memory, base.memory_bytes),
            timeout: longest,
            stall: base.stall,
            cpu,
            report_bytes: size(report, base.report_bytes),
            host_calls: number("host_calls", base.host_calls),
            // The table bounds these two.
            handles: number("handles", base.handles.into()) as u32,
            findings: number("findings", base.findings.into()) as u32,
            http_requests: number("http_requests", base.http_requests),
            log_bytes: size(fields.size("log"), base.log_bytes),
            http_request_bytes: size(fields.size("http_sent"), base.http_request_bytes),
            http_response_bytes: size(fields.size("http_received"), base.http_response_bytes),
            http_timeout: fields.duration("http_timeout").map_or(base.http_timeout, |given| given.value),
        };
        sound.into_iter().all(|sound| sound).then_some(limits)
    }

    fn at_least(&mut self, path: &str, key: &str, given: Option<&Spanned<u64>>, least: u64) -> bool {
        let Some(given) = given.filter(|given| given.value < least) else { return true };
        let bound = units::format_size(least);
        self.tell(
            Diagnostic::error(format!("`{path}.{key}` is too small"))
                .at(given.span.clone())
                .label(format!("expected {bound} or more")),
        );
        false
    }

    fn at_most(&mut self, path: &str, key: &str, given: Option<&Spanned<u64>>, most: u64) -> bool {
        let Some(given) = given.filter(|given| given.value > most) else { return true };
        let bound = units::format_size(most);
        self.tell(
            Diagnostic::error(format!("`{path}.{key}` is too large"))
                .at(given.span.clone())
                .label(format!("expected {bound} or less")),
        );
        false
    }

    fn not_too_long(&mut self, path: &str, key: &str, given: Option<&Spanned<Duration>>) -> bool {
        let Some(given) = given.filter(|given| given.value > MOST_TIME) else { return true };
        self.tell(
            Diagnostic::error(format!("`{path}.{key}` is too long"))
                .at(given.span.clone())
                .label("expected 24h or less"),
        );
        false
    }
}
