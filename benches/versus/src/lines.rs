//! Curves over time or over the number of keys, as SVG.
//!
//! Upwards the scale is logarithmic: equal steps are equal ratios, so that stores of unlike speed share one picture and a slump by half looks the same in each.
//! A point of zero, a second in which nothing was done, lies on the lower edge.

use crate::plot::{Svg, TEXT};

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// As in SVG.
    pub colour: &'static str,
    /// Lengths of dashes and gaps; empty: none.
    pub dashes: &'static str,
    /// Thickness.
    pub width: f64,
    /// Ascending.
    pub points: Vec<(f64, f64)>,
}

/// A picture of curves.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above.
    pub title: String,
    /// What the scale that goes up counts.
    pub up: &'static str,
    /// What the other counts.
    pub along: &'static str,
    /// Is that one logarithmic too?
    pub along_by_ratio: bool,
    /// Where it has marks.
    pub marks: Vec<(f64, String)>,
    /// A dot on each point.
    pub dots: bool,
    /// A mark of the scale that goes up, in words.
    pub number: fn(f64) -> String,
    /// In the order of the legend.
    pub curves: Vec<Curve>,
}

/// Colours that can be told apart, ours first.
pub const COLOURS: [&str; 9] =
    ["#1f6fb2", "#b3261e", "#2e8b57", "#d98324", "#7a4fa3", "#8c6d3f", "#d1539b", "#5f6b76", "#17a2a8"];
/// Dashes that can be told apart, none first.
pub const DASHES: [&str; 5] = ["", "7 4", "2 3", "9 3 2 3", "12 6"];

impl Chart {
    /// As SVG.
    pub fn draw(&self) -> String {
        const WIDTH: f64 = 1060.0;
        const HEIGHT: f64 = 460.0;
        const LEFT: f64 = 70.0;
        const RIGHT: f64 = 360.0;
        const TOP: f64 = 62.0;
        const BOTTOM: f64 = 50.0;
        const LEGEND_LINE: f64 = 22.0;
        let height = HEIGHT.max(TOP + BOTTOM + LEGEND_LINE * self.curves.len() as f64);
        let mut svg = Svg::new(WIDTH, height);
        svg.text((16.0, 26.0), (17, "start", "bold"), TEXT, &self.title);
        svg.text((16.0, 46.0), (12, "start", "normal"), "#666", self.up);
        let scale_along = |x: f64| if self.along_by_ratio { x.max(1e-9).log10() } else { x };
        let all = || self.curves.iter().flat_map(|curve| &curve.points);
        let bounds = |numbers: &mut dyn Iterator<Item = f64>| {
            numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
        };
        let (from, to) = bounds(&mut all().map(|&(x, _)| scale_along(x)));
        let (low, high) = bounds(&mut all().map(|&(_, y)| y).filter(|y| *y > 0.0).map(f64::log10));
        if !(from.is_finite() && low.is_finite()) {
            return svg.finish(&self.title);
        }
        let (low, high) = (mark_below(low), mark_above(high));
        let along = |x: f64| LEFT + (scale_along(x) - from) / (to - from).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let up = |y: f64| {
            let y = if y > 0.0 { y.log10().clamp(low, high) } else { low };
            height - BOTTOM - (y - low) / (high - low).max(1e-9) * (height - TOP - BOTTOM)
        };
        for decade in low.floor() as i32..=high.ceil() as i32 {
            for digit in STEPS {
                let y = digit * 10f64.powi(decade);
                if y.log10() > low - 1e-9 && y.log10() < high + 1e-9 {
                    svg.line(LEFT, up(y), WIDTH - RIGHT, up(y), if digit == 1.0 { "#bbb" } else { "#e8e8e8" }, 1.0);
                    svg.text((LEFT - 8.0, up(y) + 4.0), (11, "end", "normal"), "#666", &(self.number)(y));
                }
            }
        }
        svg.line(LEFT, height - BOTTOM, WIDTH - RIGHT, height - BOTTOM, TEXT, 1.0);
        for (x, mark) in &self.marks {
            svg.line(along(*x), height - BOTTOM, along(*x), height - BOTTOM + 5.0, TEXT, 1.0);
            svg.text((along(*x), height - BOTTOM + 19.0), (11, "middle", "normal"), "#666", mark);
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        svg.text((middle, height - 10.0), (12, "middle", "normal"), "#666", self.along);
        // Ours come first, and are drawn last: on top.
        for curve in self.curves.iter().rev() {
            let points: Vec<(f64, f64)> = curve.points.iter().map(|&(x, y)| (along(x), up(y))).collect();
            svg.polyline(&points, curve.colour, curve.width, curve.dashes);
            if self.dots {
                points.iter().for_each(|&(x, y)| svg.rect(x - 3.0, y - 3.0, 6.0, 6.0, curve.colour));
            }
        }
        for (place, curve) in self.curves.iter().enumerate() {
            let (x, y) = (WIDTH - RIGHT + 20.0, TOP + 12.0 + LEGEND_LINE * place as f64);
            svg.polyline(&[(x, y - 4.0), (x + 26.0, y - 4.0)], curve.colour, curve.width.max(2.0), curve.dashes);
            svg.text((x + 34.0, y), (12, "start", "normal"), TEXT, &curve.name);
        }
        svg.finish(&self.title)
    }
}

const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// The greatest 1, 2 or 5 of a power of ten that is not above, all as logarithms.
fn mark_below(log: f64) -> f64 {
    let marks = STEPS.map(|digit| log.floor() + digit.log10());
    marks.into_iter().filter(|mark| *mark <= log + 1e-9).fold(log.floor(), f64::max)
}

/// The least that is not below.
fn mark_above(log: f64) -> f64 {
    let marks = STEPS.map(|digit| log.floor() + digit.log10());
    marks.into_iter().filter(|mark| *mark >= log - 1e-9).fold(log.floor() + 1.0, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(curves: Vec<Vec<(f64, f64)>>) -> Chart {
        let curve =
            |points| Curve { name: "a<b".to_owned(), colour: COLOURS[0], dashes: DASHES[1], width: 2.0, points };
        Chart {
            title: "t".to_owned(),
            up: "up",
            along: "along",
            along_by_ratio: false,
            marks: vec![(1.0, "one".to_owned())],
            dots: true,
            number: |y| format!("<{y}>"),
            curves: curves.into_iter().map(curve).collect(),
        }
    }

    #[test]
    fn marks_enclose() {
        let below = |y: f64| 10f64.powf(mark_below(y.log10())).round();
        let above = |y: f64| 10f64.powf(mark_above(y.log10())).round();
        assert_eq!([10.0, 19.0, 20.0, 49.0, 99.0].map(below), [10.0, 10.0, 20.0, 20.0, 50.0]);
        assert_eq!([10.0, 19.0, 20.0, 49.0, 51.0].map(above), [10.0, 20.0, 20.0, 50.0, 100.0]);
    }

    /// Closed, escaped, with numbers throughout: also with a zero, a single point, and none.
    #[test]
    fn charts_are_well_formed() {
        let charts = [
            vec![vec![(1.0, 10.0), (2.0, 0.0), (3.0, 1e6)], vec![(1.0, 3.0)]],
            vec![vec![(5.0, 7.0)]],
            vec![vec![]],
            vec![],
        ];
        for curves in charts {
            let drawn = chart(curves).draw();
            assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
            assert!(!drawn.contains("NaN") && !drawn.contains("inf") && !drawn.contains("a<b"));
            let count = |what: &str| drawn.matches(what).count();
            assert_eq!(count("<text"), count("</text>"));
            assert_eq!(count("<rect") + count("<line") + count("<polyline"), count("/>"));
        }
    }

    /// Twice as much is as far up wherever it is, and more is higher.
    #[test]
    fn upwards_goes_by_ratio() {
        let drawn = chart(vec![vec![(0.0, 10.0), (1.0, 20.0), (2.0, 50.0), (3.0, 100.0)]]).draw();
        let points = drawn.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let heights: Vec<f64> =
            points.split(' ').map(|point| point.split(',').nth(1).unwrap().parse().unwrap()).collect();
        assert!(heights.is_sorted_by(|a, b| a > b), "{heights:?}");
        let step = |a: usize, b: usize| heights[a] - heights[b];
        assert!((step(0, 1) - step(2, 3)).abs() < 0.3, "{heights:?}");
    }
}
