//! Bars of ratios as SVG: a group for each cell, a bar for each client, a logarithmic scale on
//! which bare rumqttc is 1.

use std::fmt::Write;

use super::{
    compare::{Compared, Spread},
    metric::Metric,
    peers::Member,
    scenario::Scenario,
};

const WIDTH: f64 = 760.0;
/// Where the scale begins and ends, and what it spans.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 640.0;
const LEAST: f64 = 0.02;
const MOST: f64 = 100.0;
const LINE: f64 = 18.0;

/// Legible on light and on dark ground.
const STYLE: &str = "\
text { font: 12px sans-serif; fill: #24292f }
.cell { font-weight: bold }
.ours { fill: #1f883d } .peer { fill: #8c959f } .base { stroke: #cf222e; stroke-width: 1.5 }
.tick { stroke: #8c959f; stroke-opacity: 0.35 } .spread { stroke: #24292f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.ours { fill: #3fb950 } .peer { fill: #6e7681 } .base { stroke: #ff7b72 }
.spread { stroke: #e6edf3 }
}";

/// The plot of a scenario's messages a second; none if nothing was measured.
pub(crate) fn svg(scenario: Scenario, all: &[Compared]) -> Option<String> {
    let mut body = String::new();
    let mut y = 46.0;
    for compared in all.iter().filter(|it| it.cell.scenario == scenario) {
        let bars: Vec<(Member, Spread)> = compared
            .rows
            .iter()
            // The physical limit would squeeze everything else.
            .filter(|row| !matches!(row.member, Member::Bare | Member::Raw))
            .filter_map(|row| {
                let ratio = compared.ratio(row.member, Member::Bare, Metric::Rate)?;
                Some((row.member, ratio))
            })
            .collect();
        if bars.is_empty() {
            continue;
        }
        let _ = writeln!(
            body,
            "<text class=\"cell\" x=\"8\" y=\"{}\">{}</text>",
            y + 13.0,
            compared.cell.title()
        );
        y += LINE;
        for (member, ratio) in bars {
            bar(&mut body, y, member, ratio);
            y += LINE;
        }
        y += 8.0;
    }
    if body.is_empty() {
        return None;
    }
    let mut scale = String::new();
    for tick in [0.1, 1.0, 10.0] {
        let class = if tick == 1.0 { "base" } else { "tick" };
        let x = at(tick);
        let _ = writeln!(
            scale,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"40\" y2=\"{y:.1}\"/>\n\
             <text x=\"{x:.1}\" y=\"36\" text-anchor=\"middle\">{tick}</text>"
        );
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <text x=\"8\" y=\"18\" class=\"cell\">{}: messages/s, as a multiple of bare rumqttc</text>\n\
         {body}{scale}</svg>\n",
        scenario.title(),
        height = y + 8.0,
    ))
}

fn bar(body: &mut String, y: f64, member: Member, ratio: Spread) {
    let class = match member {
        Member::Ours(_) => "ours",
        _ => "peer",
    };
    let (from, to) = (at(LEAST), at(ratio.median));
    let middle = y + 8.0;
    let _ = writeln!(
        body,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
         <rect class=\"{class}\" x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"12\"/>\n\
         <line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\n\
         <text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
        LEFT - 8.0,
        y + 12.0,
        member.name(),
        y + 2.0,
        to - from,
        at(ratio.least),
        at(ratio.most),
        at(ratio.most) + 6.0,
        y + 12.0,
        ratio.median,
    );
}

/// A ratio's place on the scale.
fn at(ratio: f64) -> f64 {
    let share = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + (RIGHT - LEFT) * share
}
