//! What one call of a plugin may use, and the counters that hold it to that.
//!
//! Two kinds of limits: [`Limits`], which an operator sets per plugin, and the constants here, which bound what no
//! honest plugin comes near (tables, instances).

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Least bound on the data that one call may carry out of the guest, as it lies in the host.
pub(crate) const CALL_DATA_BYTES: u64 = 1 << 20;
/// Core instances in one component. A Python guest has some twenty.
const INSTANCES: usize = 256;
/// Linear memories in one component.
const MEMORIES: usize = 32;
/// Tables in one component.
const TABLES: usize = 128;
/// Table elements in sum; 16 bytes each in the host.
const TABLE_ELEMENTS: usize = 1 << 20;

/// Limits of one call. The defaults suit a verifier that reads a whole snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sum of all linear memories in bytes.
    pub memory_bytes: u64,
    /// Wall time, waiting included.
    pub timeout: Duration,
    /// How long a call that moves bytes may move none; without it, only `timeout` counts. With it, `cpu` counts anew each time
    /// that bytes have moved: a large object takes more of it than a small one.
    pub stall: Option<Duration>,
    /// Processor time of the thread that runs the plugin, host functions included.
    pub cpu: Duration,
    /// Calls of host functions of ours; those of WASI are not counted.
    pub host_calls: u64,
    /// Live handles (snapshots, cursors, streams), in the guest and in the host.
    pub handles: u32,
    /// Bytes of log lines, standard output and standard error that are passed on; the rest is dropped and counted.
    pub log_bytes: u64,
    /// Size of the report as the guest hands it over. A larger one is refused.
    pub report_bytes: u64,
    /// Findings kept of a report; further ones are counted.
    pub findings: u32,
    /// HTTP requests.
    pub http_requests: u64,
    /// Bytes of the bodies of all requests together.
    pub http_request_bytes: u64,
    /// Bytes of the bodies of all answers together.
    pub http_response_bytes: u64,
    /// Longest wait for a server that neither takes what it is sent nor answers, and between parts of the body of an answer.
    pub http_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 64 << 20,
            timeout: Duration::from_secs(30),
            stall: None,
            cpu: Duration::from_secs(30),
            host_calls: 10_000_000,
            handles: 1024,
            log_bytes: 256 << 10,
            report_bytes: 1 << 20,
            findings: 1000,
            http_requests: 100,
            http_request_bytes: 1 << 20,
            http_response_bytes: 8 << 20,
            http_timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// The limits under which a plugin describes itself: the memory is its own, everything else is tight.
    pub(crate) fn for_description(&self) -> Limits {
        Limits {
            memory_bytes: self.memory_bytes,
            timeout: Duration::from_secs(5),
            stall: None,
            cpu: Duration::from_secs(2),
            host_calls: 100,
            handles: self.handles,
            log_bytes: 4 << 10,
            report_bytes: 512 << 10,
            findings: 0,
            http_requests: 0,
            http_request_bytes: 0,
            http_response_bytes: 0,
            http_timeout: self.http_timeout,
        }
    }
}

/// Sums all memories and tables of a store, refuses growth past the limit and remembers the peak.
///
/// Growth is refused, not trapped: many allocators can answer a refusal in their own way (collect garbage, return an
/// error). A guest that stops after a refusal is reported as out of memory by the caller, who asks [`Self::refused`].
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limit_bytes: u64,
    in_use_bytes: u64,
    peak_bytes: u64,
    last_growth_bytes: u64,
    refused_bytes: Option<u64>,
    table_elements: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        MemoryLimiter {
            limit_bytes,
            in_use_bytes: 0,
            peak_bytes: 0,
            last_growth_bytes: 0,
            refused_bytes: None,
            table_elements: 0,
        }
    }

    /// The most memory that was in use at one time.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The total that would have been in use, had the last refused growth been granted.
    pub(crate) fn refused(&self) -> Option<u64> {
        self.refused_bytes
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth_bytes = desired.saturating_sub(current) as u64;
        let total_bytes = self.in_use_bytes.saturating_add(growth_bytes);
        if total_bytes > self.limit_bytes {
            self.refused_bytes = Some(total_bytes);
            return Ok(false);
        }
        self.in_use_bytes = total_bytes;
        self.last_growth_bytes = growth_bytes;
        self.peak_bytes = self.peak_bytes.max(total_bytes);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // Also called after a refusal of ours, which counted nothing.
        self.in_use_bytes = self.in_use_bytes.saturating_sub(std::mem::take(&mut self.last_growth_bytes));
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_summed_and_the_peak_is_kept() {
        let mut limiter = MemoryLimiter::new(3 << 16);
        assert!(limiter.memory_growing(0, 1 << 16, None).expect("no trap"));
        assert!(limiter.memory_growing(0, 2 << 16, None).expect("no trap"));
        assert!(!limiter.memory_growing(1 << 16, 2 << 16, None).expect("no trap"));
        assert_eq!(limiter.peak_bytes(), 3 << 16);
        assert_eq!(limiter.refused(), Some(4 << 16));
    }

    #[test]
    fn growth_that_the_system_refused_is_not_counted() {
        let mut limiter = MemoryLimiter::new(4 << 16);
        assert!(limiter.memory_growing(0, 3 << 16, None).expect("no trap"));
        limiter.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("no trap");
        assert!(limiter.memory_growing(0, 4 << 16, None).expect("no trap"));
    }
}
