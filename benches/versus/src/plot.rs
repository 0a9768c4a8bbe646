//! Two pictures as SVG, written by hand: bars and text need no library, and stay text.
//!
//! - `ratios`: one bar a row, kvs to the best peer of the same durability, on a logarithmic scale, with a tick where the bar of the report is. Right
//!   of the line at 1: ahead. Rows that are bounded by a number of their own, not by a ratio, stand in the table only.
//! - `rates`: one small panel a row, one bar a store.

use std::fmt::Write;

use crate::bar::{Aim, Bar, Verdict};
use crate::store::Class;
use crate::stores::SPINNER_NAME;
use crate::table::{Compared, OURS, Part, count, number, times};

const OURS_COLOUR: &str = "#1f6fb2";
const PEER_COLOUR: &str = "#8a8f98";
const WEAKER_COLOUR: &str = "#c3c7cd";
const MEMORY_COLOUR: &str = "#e3e5e8";
const OPEN_COLOUR: &str = "#9fbcd6";
const SHORT_COLOUR: &str = "#d98324";
const BEHIND_COLOUR: &str = "#b3261e";
pub(crate) const TEXT: &str = "#222";

pub(crate) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64) -> Svg {
        Svg { body: String::new(), width, height }
    }

    pub(crate) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" fill="{colour}"/>"#,
            width.max(0.5)
        );
    }

    pub(crate) fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, colour: &str, width: f64) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        );
    }

    /// Through these points; `dashes` as in SVG, none if empty.
    pub(crate) fn polyline(&mut self, points: &[(f64, f64)], colour: &str, width: f64, dashes: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dashes = if dashes.is_empty() { String::new() } else { format!(r#" stroke-dasharray="{dashes}""#) };
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"{dashes}/>"#,
            points.join(" ")
        );
    }

    /// `style` is size, anchor and weight.
    pub(crate) fn text(&mut self, (x, y): (f64, f64), style: (u32, &str, &str), colour: &str, text: &str) {
        let (size, anchor, weight) = style;
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{text}</text>"#
        );
    }

    pub(crate) fn finish(self, title: &str) -> String {
        let Svg { body, width, height } = self;
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"system-ui, sans-serif\" role=\"img\">\n<title>{title}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}

fn colour_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reached => OURS_COLOUR,
        Verdict::Open => OPEN_COLOUR,
        Verdict::Short => SHORT_COLOUR,
        Verdict::Behind => BEHIND_COLOUR,
    }
}

/// kvs to the best peer, row by row.
pub fn ratios(part: &Part<'_>, bar: &Bar) -> String {
    const LEFT: f64 = 250.0;
    const RIGHT: f64 = 190.0;
    const ROW: f64 = 20.0;
    const TOP: f64 = 78.0;
    const WIDTH: f64 = 960.0;
    let by_ratio = |compared: &Compared<'_>| {
        matches!(compared.aim, Aim::Ratio(_)) || (compared.aim == Aim::None && compared.row.metric.ends_with("rate"))
    };
    let rows: Vec<(Compared<'_>, f64)> = part
        .compare(bar)
        .into_iter()
        .filter(by_ratio)
        .filter_map(|compared| Some((compared.ratio.filter(|ratio| ratio.is_finite() && *ratio > 0.0)?, compared)))
        .map(|(ratio, compared)| (compared, ratio))
        .collect();
    let height = TOP + ROW * rows.len() as f64 + 24.0;
    let mut svg = Svg::new(WIDTH, height);
    let (whom, limit) = match part.memory_limit_bytes {
        None => ("the best store of the same durability", String::new()),
        Some(bytes) => (bar.beyond.peer.as_str(), format!(", in {} of memory", number("_bytes", bytes as f64))),
    };
    let title = format!("kvs to {whom}: {} keys, {}{limit}", count(part.n), part.shape);
    svg.text((16.0, 26.0), (17, "start", "bold"), TEXT, &title);
    let legend = [
        ("reached", OURS_COLOUR),
        ("short of the bar", SHORT_COLOUR),
        ("behind the best peer", BEHIND_COLOUR),
        ("no bar", OPEN_COLOUR),
    ];
    let mut x = 16.0;
    for (name, colour) in legend {
        svg.rect(x, 38.0, 11.0, 11.0, colour);
        svg.text((x + 16.0, 48.0), (12, "start", "normal"), TEXT, name);
        x += 32.0 + 7.0 * name.len() as f64;
    }
    svg.line(x + 4.0, 37.0, x + 4.0, 50.0, TEXT, 2.0);
    svg.text((x + 12.0, 48.0), (12, "start", "normal"), TEXT, "the bar");
    // From an eighth to thirty-two times, or wider if a row needs it.
    let widest = rows
        .iter()
        .map(|(_, ratio)| ratio.log2())
        .fold((-3.0f64, 5.0f64), |(low, high), at| (low.min(at), high.max(at)));
    let (low, high) = (widest.0.floor().max(-10.0), widest.1.ceil().min(12.0));
    let place = |ratio: f64| LEFT + (ratio.log2().clamp(low, high) - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    for power in low as i32..=high as i32 {
        let ratio = 2f64.powi(power);
        let strong = power == 0;
        svg.line(
            place(ratio),
            TOP - 6.0,
            place(ratio),
            height - 20.0,
            if strong { TEXT } else { "#ddd" },
            if strong { 1.5 } else { 1.0 },
        );
        let label = if power >= 0 { format!("{ratio}x") } else { format!("1/{}", 2f64.powi(-power)) };
        svg.text((place(ratio), TOP - 10.0), (11, "middle", "normal"), "#666", &label);
    }
    for (at, (compared, ratio)) in rows.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        svg.text((LEFT - 10.0, y + 14.0), (12, "end", "normal"), TEXT, &compared.row.title);
        let (from, to) = (place(1.0).min(place(*ratio)), place(1.0).max(place(*ratio)));
        svg.rect(from, y + 4.0, to - from, ROW - 8.0, colour_of(compared.verdict));
        if let Aim::Ratio(aim) = compared.aim {
            svg.line(place(aim), y + 1.0, place(aim), y + ROW - 1.0, TEXT, 2.0);
        }
        let best = compared.best.map_or("", |(best, _)| best);
        svg.text((WIDTH - RIGHT + 12.0, y + 14.0), (12, "start", "bold"), TEXT, &times(*ratio));
        svg.text((WIDTH - RIGHT + 70.0, y + 14.0), (11, "start", "normal"), "#666", &format!("of {best}"));
    }
    svg.finish(&title)
}

/// Every store, row by row: panels of bars, longer is more.
pub fn rates(part: &Part<'_>, bar: &Bar) -> String {
    const COLUMNS: usize = 4;
    const PANEL: f64 = 300.0;
    const BAR: f64 = 15.0;
    const NAME: f64 = 88.0;
    const TOP: f64 = 70.0;
    let rows: Vec<Compared<'_>> = part.compare(bar).into_iter().filter(|c| c.row.metric.ends_with("rate")).collect();
    // Stores without a number leave no gap, so panels of a line of the grid are as high as the fullest.
    let heights: Vec<f64> = rows
        .chunks(COLUMNS)
        .map(|line| 40.0 + BAR * line.iter().map(|c| c.numbers.len()).max().unwrap_or(0) as f64)
        .collect();
    let width = COLUMNS as f64 * PANEL + 20.0;
    let mut svg = Svg::new(width, TOP + heights.iter().sum::<f64>() + 10.0);
    let title = format!("Operations a second: {} keys, {}", count(part.n), part.shape);
    svg.text((16.0, 26.0), (17, "start", "bold"), TEXT, &title);
    let legend = [
        ("kvs", OURS_COLOUR),
        ("survives kill -9 too", PEER_COLOUR),
        ("weaker", WEAKER_COLOUR),
        ("memory only, or a floor", MEMORY_COLOUR),
    ];
    let mut x = 16.0;
    for (name, colour) in legend {
        svg.rect(x, 38.0, 11.0, 11.0, colour);
        svg.text((x + 16.0, 48.0), (12, "start", "normal"), TEXT, name);
        x += 32.0 + 7.0 * name.len() as f64;
    }
    let mut y = TOP;
    for (line, height) in rows.chunks(COLUMNS).zip(&heights) {
        for (at, compared) in line.iter().enumerate() {
            let x = 16.0 + PANEL * at as f64;
            svg.text((x, y + 12.0), (13, "start", "bold"), TEXT, &compared.row.title);
            if let Some(ratio) = compared.ratio {
                svg.text((x + PANEL - 30.0, y + 12.0), (12, "end", "bold"), colour_of(compared.verdict), &times(ratio));
            }
            let most = compared.numbers.values().filter_map(|number| number.value).fold(0.0, f64::max);
            let stores = part.stores.iter().filter_map(|store| Some((*store, compared.numbers.get(store)?)));
            for (place, (store, found)) in stores.enumerate() {
                let top = y + 20.0 + BAR * place as f64;
                let weight = if store == OURS { "bold" } else { "normal" };
                svg.text((x + NAME - 6.0, top + 11.0), (11, "end", weight), TEXT, store);
                let Some(value) = found.value else {
                    svg.text((x + NAME, top + 11.0), (11, "start", "normal"), BEHIND_COLOUR, "failed");
                    continue;
                };
                let colour = match (store, found.class) {
                    (OURS, _) => OURS_COLOUR,
                    (ours, _) if ours.starts_with("kvs_") => OURS_COLOUR,
                    ("append" | SPINNER_NAME, _) | (_, Class::Memory) => MEMORY_COLOUR,
                    (_, Class::Weaker) => WEAKER_COLOUR,
                    _ => PEER_COLOUR,
                };
                let long = if most > 0.0 { value / most * (PANEL - NAME - 90.0) } else { 0.0 };
                svg.rect(x + NAME, top + 2.0, long, BAR - 4.0, colour);
                let text = number(&compared.row.metric, value) + if found.cut { "†" } else { "" };
                svg.text((x + NAME + long + 5.0, top + 11.0), (11, "start", weight), TEXT, &text);
            }
        }
        y += height;
    }
    svg.finish(&title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;
    use crate::table::parts;

    /// Every element is closed, text is escaped, and each row and store is there.
    #[test]
    fn pictures_are_well_formed() {
        let a = Class::Acknowledged;
        let records = [
            example("kvs", a, "fill_random", &[("rate", 1e6)]),
            example("lmdb", a, "fill_random", &[("rate", 250e3)]),
            example("kvs", a, "seek_10", &[("rate", 10.0)]),
            example("a<b&c", a, "seek_10", &[("rate", 30.0)]),
        ];
        let bar = Bar::load().unwrap();
        let parts = parts(&records);
        for picture in [ratios(&parts[0], &bar), rates(&parts[0], &bar)] {
            assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
            assert!(
                picture.contains("fill random") && picture.contains("seek + 10") && picture.contains("a&lt;b&amp;c")
            );
            assert!(!picture.contains("NaN") && !picture.contains("inf"));
            let count = |what: &str| picture.matches(what).count();
            assert_eq!(count("<text"), count("</text>"));
            assert_eq!(count("<rect") + count("<line"), count("/>"));
        }
        assert!(ratios(&parts[0], &bar).contains("4.00x"));
    }
}
