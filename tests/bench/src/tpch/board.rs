//! What each query took at each side.

/// Medians, ms.
#[derive(Debug)]
pub(crate) struct Board {
    sides: Vec<&'static str>,
    /// The number of the query, and a median for each side.
    lines: Vec<(usize, Vec<f64>)>,
}

impl Board {
    pub(super) fn new(sides: Vec<&'static str>) -> Self {
        Self { sides, lines: Vec::new() }
    }

    pub(super) fn add(&mut self, query: usize, medians: Vec<f64>) {
        self.lines.push((query, medians));
    }

    /// The sums of the medians, by side.
    pub(crate) fn totals(&self) -> Vec<f64> {
        (0..self.sides.len()).map(|side| self.lines.iter().map(|(_, medians)| medians[side]).sum()).collect()
    }

    /// A line a query: the first side, then each other one with how many times as long the first took.
    pub(crate) fn print(&self) {
        const WIDTH: usize = 14;
        let heads: String =
            self.sides[1..].iter().map(|side| format!("  {side:>width$}", width = side.len().max(WIDTH))).collect();
        println!("  {:<5} {:>9}{heads}", "query", self.sides[0]);
        let line = |name: &str, times: &[f64]| {
            let first = times[0];
            print!("  {name:<5} {first:>9.1}");
            for (time, side) in times.iter().zip(&self.sides).skip(1) {
                let cell = format!("{time:.1} {:>5.2}", first / time);
                print!("  {cell:>width$}", width = side.len().max(WIDTH));
            }
            println!();
        };
        for (query, medians) in &self.lines {
            line(&format!("q{query}"), medians);
        }
        line("all", &self.totals());
    }
}
