//! The figures: medians over the rounds, ratios within each round, and the targets.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use crate::closed_loop::Sample;
use crate::ground::Side;
use crate::rows::{ROWS, Row, Size, Target, named};

/// One round: each row with each size, once; with an older build, in turn with that.
#[derive(Default)]
struct Round {
    this: Samples,
    baseline: Samples,
}

type Samples = BTreeMap<(&'static str, Size), Sample>;

/// All rounds.
pub struct Report {
    sizes: Vec<Size>,
    rounds: Vec<Round>,
}

/// A ratio that has to be reached, or is only shown.
struct Ratio {
    what: String,
    target: Option<Target>,
    /// Round by round.
    values: Vec<f64>,
    /// The same of the processor time that the server and PostgreSQL took: what others do beside it disturbs that less.
    work: Option<f64>,
}

impl Ratio {
    fn value(&self) -> f64 {
        median(self.values.clone())
    }

    fn met(&self) -> Option<bool> {
        self.target.map(|target| target.met(self.value()))
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Report {
    /// Without a round yet.
    pub fn new(sizes: &[Size]) -> Self {
        Self { sizes: sizes.to_vec(), rounds: Vec::new() }
    }

    /// Begins a round.
    pub fn begin(&mut self) {
        self.rounds.push(Round::default());
    }

    /// Adds to the round that was begun.
    pub fn add(&mut self, row: &Row, size: Size, side: Side, sample: Sample) {
        let round = self.rounds.last_mut().expect("a round was begun");
        let samples = match side {
            Side::This => &mut round.this,
            Side::Baseline => &mut round.baseline,
        };
        samples.insert((row.name, size), sample);
    }

    /// Round by round; none where a round lacks what it needs.
    fn values(&self, of: impl Fn(&Round) -> Option<f64>) -> Option<Vec<f64>> {
        let values: Option<Vec<f64>> = self.rounds.iter().map(of).collect();
        values.filter(|values| !values.is_empty())
    }

    fn figure(&self, row: &Row, size: Size, side: Side, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let samples = |round: &Round| match side {
            Side::This => round.this.get(&(row.name, size)).map(&of),
            Side::Baseline => round.baseline.get(&(row.name, size)).map(&of),
        };
        self.values(samples).map(median)
    }

    /// The ratios within this build.
    fn ratios(&self) -> Vec<Ratio> {
        let rate = |round: &Round, name, size| Some(round.this.get(&(name, size))?.rate);
        let mut ratios = Vec::new();
        let mut add = |what: String, target, values: Option<Vec<f64>>| {
            ratios.extend(values.map(|values| Ratio { what, target, values, work: None }));
        };
        for row in ROWS {
            for &(other, least) in row.parts {
                let of = |round: &Round| Some(rate(round, row.name, Size::Once)? / rate(round, other, Size::Once)?);
                add(format!("{} / {}", row.title, named(other).title), least.map(Target::AtLeast), self.values(of));
            }
            if let Some(target) = row.itself {
                add(row.title.to_owned(), Some(target), self.values(|round| rate(round, row.name, Size::Once)));
            }
            if let Some(most) = row.spread {
                let of = |round: &Round| round.this.get(&(row.name, Size::Once)).map(|sample| sample.p99 / sample.p50);
                add(format!("{}: p99 / p50", row.title), Some(Target::AtMost(most)), self.values(of));
            }
            if let Some(least) = row.tenfold {
                let of =
                    |round: &Round| Some(rate(round, row.name, Size::Tenfold)? / rate(round, row.name, Size::Once)?);
                add(format!("{}: tenfold data / once", row.title), Some(Target::AtLeast(least)), self.values(of));
            }
        }
        ratios
    }

    /// The ratios of this build to the older one.
    fn pairs(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for row in ROWS {
            for &size in row.sizes {
                let key = (row.name, size);
                let ratio = |of: fn(&Sample) -> f64| {
                    self.values(|round| Some(of(round.this.get(&key)?) / of(round.baseline.get(&key)?)))
                };
                let title = format!("{}, {}", row.title, size.name());
                if let Some(values) = ratio(|sample| sample.rate) {
                    let work = ratio(|sample| sample.cpu.server + sample.cpu.postgres).map(median);
                    let work = work.filter(|work| work.is_finite());
                    ratios.push(Ratio { what: title.clone(), target: row.baseline, values, work });
                }
                if let Some(values) = row.baseline_tail.and(ratio(|sample| sample.p99)) {
                    let what = format!("{title}: p99");
                    ratios.push(Ratio { what, target: row.baseline_tail, values, work: None });
                }
            }
        }
        ratios
    }

    /// All figures of all rounds.
    pub fn json(&self) -> String {
        let sample = |(key, sample): (&(&str, Size), &Sample)| {
            json!({
                "row": key.0, "data": key.1.name(), "rate": sample.rate, "p50_us": sample.p50, "p99_us": sample.p99,
                "cpu_us": {
                    "bench": sample.cpu.bench, "server": sample.cpu.server, "postgres": sample.cpu.postgres,
                },
                "cpu_of_others": sample.cpu.others,
            })
        };
        let rounds = |of: fn(&Round) -> &Samples| -> Vec<Vec<_>> {
            self.rounds.iter().map(|round| of(round).iter().map(sample).collect()).collect()
        };
        let ratios = |ratios: Vec<Ratio>| -> Vec<_> {
            let ratio = |ratio: &Ratio| {
                json!({
                    "what": ratio.what, "value": ratio.value(), "rounds": ratio.values, "processor_time": ratio.work,
                    "target": ratio.target.map(|target| target.to_string()), "met": ratio.met(),
                })
            };
            ratios.iter().map(ratio).collect()
        };
        let figures = json!({
            "ratios": ratios(self.ratios()), "to_baseline": ratios(self.pairs()),
            "rounds": rounds(|round| &round.this), "baseline": rounds(|round| &round.baseline),
        });
        format!("{figures:#}\n")
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, side: Side) -> fmt::Result {
        writeln!(f, "| what | data | per second | p50 us | p99 us | processor time |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for row in ROWS {
            for &size in &self.sizes {
                let figure = |of: fn(&Sample) -> f64| self.figure(row, size, side, of);
                let (Some(rate), Some(p50), Some(p99)) =
                    (figure(|it| it.rate), figure(|it| it.p50), figure(|it| it.p99))
                else {
                    continue;
                };
                let cpu = [figure(|it| it.cpu.bench), figure(|it| it.cpu.server), figure(|it| it.cpu.postgres)];
                let cpu = cpu.map(|used| format!("{:.1}", used.unwrap_or_default())).join(" + ");
                let (title, size) = (row.title, size.name());
                let others = 100.0 * figure(|it| it.cpu.others).unwrap_or_default();
                writeln!(f, "| {title} | {size} | {rate:.0} | {p50:.0} | {p99:.0} | {cpu} ({others:.0} %) |")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Medians of {}. Processor time per operation, in us: benchmark, server, PostgreSQL;\nin parentheses, the part of both processors that went to others.\n",
            self.rounds.len()
        )?;
        self.table(f, Side::This)?;
        let pairs = self.pairs();
        if !pairs.is_empty() {
            writeln!(f, "\nThe older build:\n")?;
            self.table(f, Side::Baseline)?;
            writeln!(f, "\n| this build / the older one | target | pair by pair | median | | processor time |")?;
            writeln!(f, "|---|---|---|---|---|---|")?;
            for ratio in &pairs {
                let values: Vec<String> = ratio.values.iter().map(|value| format!("{value:.2}")).collect();
                let (target, met) = verdict(ratio);
                let (what, values, value) = (&ratio.what, values.join(", "), ratio.value());
                let work = ratio.work.map(|work| format!("{work:.2}")).unwrap_or_default();
                writeln!(f, "| {what} | {target} | {values} | {value:.2} | {met} | {work} |")?;
            }
        }
        writeln!(f, "\n| ratio | target | measured | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for ratio in self.ratios() {
            let (target, met) = verdict(&ratio);
            writeln!(f, "| {} | {target} | {:.2} | {met} |", ratio.what, ratio.value())?;
        }
        Ok(())
    }
}

/// The target of a ratio, and whether it is met.
fn verdict(ratio: &Ratio) -> (String, &'static str) {
    let met = ratio.met().map_or("", |met| if met { "met" } else { "NOT MET" });
    (ratio.target.map(|target| target.to_string()).unwrap_or_default(), met)
}
