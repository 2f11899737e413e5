//! What every process tells of itself: its release, whether it is ready, and what it uses.

use std::fmt;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

use crate::readiness::Readiness;

/// Every crate of the workspace has the same version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Looked up when somebody asks for the metrics. Names are those of Prometheus' own clients.
#[derive(Debug)]
pub(crate) struct ProcessMetrics {
    pub(crate) readiness: Readiness,
}

/// What the process uses. Linux tells it in `/proc`.
struct Usage {
    cpu_seconds: f64,
    started_at_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_files: usize,
    max_open_files: Option<u64>,
    threads: i64,
}

impl Usage {
    fn now() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let max_open_files = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(files) => Some(files),
            LimitValue::Unlimited => None,
        };
        Ok(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            started_at_seconds: seconds(stat.starttime) + boot_time_seconds()?,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            open_files: process.fd_count()?,
            max_open_files,
            threads: stat.num_threads,
        })
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let build = Info::new([("version", VERSION)]);
        page.add("build", "The release that runs", None, &build)?;
        let ready = i64::from(self.readiness.status().is_ok());
        page.add("service_ready", "1 while /readyz answers 200", None, &ConstGauge::new(ready))?;

        // Where /proc cannot be read, these are left out.
        let Ok(usage) = Usage::now() else { return Ok(()) };
        page.usage(&usage)
    }
}

/// The page that is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn usage(&mut self, usage: &Usage) -> fmt::Result {
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        let count = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));

        let cpu = ConstCounter::new(usage.cpu_seconds);
        self.add("process_cpu", "Processor time used, in user and system mode", seconds, &cpu)?;
        let started = ConstGauge::new(usage.started_at_seconds);
        self.add("process_start_time", "When it was started, since 1970", seconds, &started)?;
        let resident = count(usage.resident_bytes);
        self.add("process_resident_memory", "Memory that is in RAM", bytes, &resident)?;
        let virtual_memory = count(usage.virtual_bytes);
        self.add("process_virtual_memory", "Memory that is mapped", bytes, &virtual_memory)?;
        let open_files = count(usage.open_files as u64);
        self.add("process_open_fds", "Files and connections that are open", None, &open_files)?;
        if let Some(max) = usage.max_open_files {
            self.add("process_max_fds", "How many may be open", None, &count(max))?;
        }
        self.add("process_threads", "Threads", None, &ConstGauge::new(usage.threads))
    }

    fn add<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric: &M,
    ) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, unit, M::TYPE)?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "hundredths of a second, for millions of years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
fn boot_time_seconds() -> ProcResult<f64> {
    Ok(procfs::boot_time_secs()? as f64)
}
