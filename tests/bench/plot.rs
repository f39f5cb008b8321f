//! How do the figures look?
//!
//! Bars with their spread, one picture a work, one panel a path; and curves along the number of publishes and containers.

use crate::contestant::Path;
use crate::contestants::{ALL, IPTABLES, NETD};
use crate::regime::Regime;
use crate::rounds::works_key;
use crate::scale::{self, SMALL};
use crate::series::{Book, Key, Metric, Series, Spread};
use crate::table::{capital, number};
use crate::works::{CONNECTIONS, P50, Work};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path as FilePath;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const NETD_COLOUR: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const OTHERS: RGBColor = RGBColor(0xa9, 0xb4, 0xbf);
const THIRD: RGBColor = RGBColor(0xd9, 0x82, 0x2b);
const FONT: &str = "sans-serif";
/// Pixels.
const PANEL: (u32, u32) = (520, 270);

/// Draws all pictures for which there are figures: the name of each file, and its title.
pub fn all(book: &Book, folder: &FilePath) -> Result<Vec<(String, String)>> {
    let mut made = Vec::new();
    for (work, name) in [
        (Work::Stream, "stream"),
        (Work::Requests, "requests"),
        (Work::Connections, "connections"),
        (Work::Datagrams, "datagrams"),
    ] {
        let title = format!("{}, {}, {}", capital(work.name()), work.metric().name, work.metric().unit);
        made.extend(bars(book, work, &title, folder, &format!("{name}.svg"))?);
    }
    for (dimension, name) in [(scale::PUBLISHES, "publishes"), (scale::CONTAINERS, "containers")] {
        let title = format!("What many {name} cost");
        made.extend(curves(book, dimension, name, &title, folder, &format!("scale-{name}.svg"))?);
    }
    Ok(made)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

fn bars(book: &Book, work: Work, title: &str, folder: &FilePath, file: &str) -> Result<Option<(String, String)>> {
    let of_path = |path: Path| -> Vec<(&str, Spread)> {
        let key = |contestant| works_key(Regime::Stable, contestant, path.name(), work.name(), work.metric().name);
        ALL.iter().filter_map(|name| Some((*name, book.get(&key(name))?.spread()))).collect()
    };
    let panels: Vec<(Path, Vec<(&str, Spread)>)> = Path::ALL.into_iter().map(|path| (path, of_path(path))).collect();
    let panels: Vec<_> = panels.into_iter().filter(|(_, bars)| !bars.is_empty()).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let rows = panels.len().div_ceil(2);
    let target = folder.join(file);
    let root = SVGBackend::new(&target, (PANEL.0 * 2, PANEL.1 * rows as u32 + 36)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let root = root.titled(title, (FONT, 22)).map_err(failed)?;
    for (area, (path, bars)) in root.split_evenly((rows, 2)).iter().zip(&panels) {
        panel(area, &capital(path.name()), bars)?;
    }
    root.present().map_err(failed)?;
    Ok(Some((file.to_owned(), title.to_owned())))
}

/// One bar a contestant, lying, with its name before it and a line from the least to the greatest value.
fn panel(area: &Area, title: &str, bars: &[(&str, Spread)]) -> Result<()> {
    let most = bars.iter().map(|(_, spread)| spread.max).fold(0.0, f64::max) * 1.12;
    let (_, height) = area.dim_in_pixel();
    let (left, right, top) = (165, 355, 30);
    let step = (height as i32 - top - 10) / i32::try_from(bars.len().max(6))?;
    let width = |value: f64| left + (f64::from(right) * value / most.max(f64::MIN_POSITIVE)) as i32;
    let small = (FONT, 13).into_text_style(area);
    area.draw(&Text::new(title, (left, 6), (FONT, 15).into_font().style(FontStyle::Bold))).map_err(failed)?;
    for (row, (name, spread)) in bars.iter().enumerate() {
        let y = top + step * i32::try_from(row)?;
        let colour = if *name == NETD { NETD_COLOUR } else { OTHERS };
        area.draw(&Text::new(*name, (4, y + step / 2 - 9), small.clone())).map_err(failed)?;
        let bar = Rectangle::new([(left, y + 2), (width(spread.median), y + step - 3)], colour.filled());
        area.draw(&bar).map_err(failed)?;
        let middle = y + step / 2;
        let (from, to) = (width(spread.min), width(spread.max));
        area.draw(&PathElement::new([(from, middle), (to, middle)], BLACK)).map_err(failed)?;
        for end in [from, to] {
            area.draw(&PathElement::new([(end, middle - 3), (end, middle + 3)], BLACK)).map_err(failed)?;
        }
        let label = Text::new(number(spread.median), (to.max(width(spread.median)) + 5, middle - 8), small.clone());
        area.draw(&label).map_err(failed)?;
    }
    Ok(())
}

const CURVES: [(&str, RGBColor); 3] = [(NETD, NETD_COLOUR), (IPTABLES, THIRD), (SMALL, OTHERS)];

fn curves(
    book: &Book,
    dimension: &str,
    what: &str,
    title: &str,
    folder: &FilePath,
    file: &str,
) -> Result<Option<(String, String)>> {
    let mut panels = Vec::new();
    for (work, metric) in [(Work::Requests, P50), (Work::Connections, CONNECTIONS)] {
        for path in [Path::SameHost, Path::Published] {
            let lines = CURVES.map(|(name, colour)| (name, colour, points(book, dimension, name, path, work, metric)));
            if lines.iter().any(|(_, _, points)| points.len() > 1) {
                let title = format!("{}: {} {}, {}", capital(path.name()), work.name(), metric.name, metric.unit);
                panels.push((title, lines));
            }
        }
    }
    if panels.is_empty() {
        return Ok(None);
    }
    let target = folder.join(file);
    let rows = panels.len().div_ceil(2);
    let root = SVGBackend::new(&target, (PANEL.0 * 2, PANEL.1 * rows as u32 + 36)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let root = root.titled(title, (FONT, 22)).map_err(failed)?;
    for (area, (title, lines)) in root.split_evenly((rows, 2)).iter().zip(&panels) {
        curve(area, title, what, lines)?;
    }
    root.present().map_err(failed)?;
    Ok(Some((file.to_owned(), title.to_owned())))
}

type Points = Vec<(f64, Spread)>;

fn points(book: &Book, dimension: &str, contestant: &str, path: Path, work: Work, metric: Metric) -> Points {
    let is_one = |key: &Key| {
        let wanted = scale::key(dimension, contestant, path, work, key.size);
        *key == Key { metric: metric.name.to_owned(), ..wanted }
    };
    let series: Vec<&Series> = book.all().filter(|series| is_one(&series.key)).collect();
    series.into_iter().map(|series| (series.key.size as f64, series.spread())).collect()
}

fn curve(area: &Area, title: &str, what: &str, lines: &[(&str, RGBColor, Points)]) -> Result<()> {
    let all = || lines.iter().flat_map(|(_, _, points)| points);
    let sizes = all().map(|(size, _)| *size);
    let (least, most) = sizes.fold((f64::MAX, 0.0), |(a, b), size| (size.min(a), size.max(b)));
    let high = all().map(|(_, spread)| spread.max).fold(0.0, f64::max) * 1.25;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 15))
        .margin(8)
        .margin_right(28)
        .x_label_area_size(34)
        .y_label_area_size(58)
        .build_cartesian_2d((least..most.max(least + 1.0)).log_scale(), 0.0..high)
        .map_err(failed)?;
    let label = |value: &f64| number(*value);
    chart
        .configure_mesh()
        .x_desc(what)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (name, colour, points) in lines.iter().filter(|(_, _, points)| !points.is_empty()) {
        let middle =
            LineSeries::new(points.iter().map(|(size, spread)| (*size, spread.median)), colour.stroke_width(2));
        let colour = *colour;
        chart
            .draw_series(middle)
            .map_err(failed)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        let ends =
            points.iter().map(|(size, spread)| PathElement::new([(*size, spread.min), (*size, spread.max)], colour));
        chart.draw_series(ends).map_err(failed)?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 12))
        .position(SeriesLabelPosition::LowerLeft)
        .draw()
        .map_err(failed)
}
