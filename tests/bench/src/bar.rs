//! One line a promise: `BAR name value limit ok|MISS   # what stands beside it`. A miss makes the run fail.

use std::time::Duration;

/// The bars of one run.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    missed: Vec<String>,
}

impl Bars {
    /// `value` must not exceed `limit`.
    pub(crate) fn at_most(&mut self, name: &str, value: f64, limit: f64, beside: &str) {
        self.line(name, value, limit, value <= limit, beside);
    }

    /// `value` must reach `limit`.
    pub(crate) fn at_least(&mut self, name: &str, value: f64, limit: f64, beside: &str) {
        self.line(name, value, limit, value >= limit, beside);
    }

    fn line(&mut self, name: &str, value: f64, limit: f64, ok: bool, beside: &str) {
        let verdict = if ok { "ok" } else { "MISS" };
        println!("BAR {name:<34} {value:>10.3} {limit:>10.3}  {verdict:<4}  # {beside}");
        if !ok {
            self.missed.push(name.to_owned());
        }
    }

    /// Names of the bars that were missed.
    pub(crate) fn missed(&self) -> &[String] {
        &self.missed
    }
}

/// The median of the samples; zero when there are none.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
