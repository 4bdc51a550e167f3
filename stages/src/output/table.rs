//! The table of a comparison as Markdown: shares in percent, with the standard error of each mean.

use obvert_eval::table::{Figure, Line, Table};

/// The table, and the differences to the method that the others are held against.
pub fn markdown(table: &Table) -> String {
    let mut text = lines("method", &table.columns, &table.lines, figure);
    if !table.differences.is_empty() {
        let against = &table.against;
        text += &format!("\n{against} less each method, run by run, in points; * more than two standard errors\n\n");
        text += &lines(&format!("{against} −"), &table.columns, &table.differences, difference);
    }
    text
}

fn lines(head: &str, columns: &[String], lines: &[Line], show: fn(Figure) -> String) -> String {
    let row = |first: &str, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
    let mut text = row(head, columns.to_vec());
    text += &row("---", columns.iter().map(|_| "---:".to_owned()).collect());
    for line in lines {
        let cells = line.figures.iter().map(|figure| figure.map(show).unwrap_or_default());
        text += &row(&line.method, cells.collect());
    }
    text
}

/// 0.625 ± 0.012 as `62.5 ± 1.2`.
fn figure(figure: Figure) -> String {
    let error = figure.error.map(|error| format!(" ± {:.1}", 100.0 * error)).unwrap_or_default();
    format!("{:.1}{error}", 100.0 * figure.mean)
}

fn difference(of: Figure) -> String {
    let (sign, mark) = (if of.mean < 0.0 { "" } else { "+" }, if of.is_clear() { " *" } else { "" });
    format!("{sign}{}{mark}", figure(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_its_errors_and_what_is_clear() {
        let of = |method: &str, mean, error| Line {
            method: method.into(),
            models: Vec::new(),
            figures: vec![Some(Figure { mean, error }), None],
        };
        let table = Table {
            runs: 2,
            columns: vec!["CSR".into(), "ISR".into()],
            lines: vec![of("dpo", 0.5, Some(0.01)), of("rpo", 0.625, None)],
            against: "rpo".into(),
            differences: vec![of("dpo", 0.125, Some(0.05)), of("sft", -0.02, Some(0.02))],
        };
        let text = "| method | CSR | ISR |\n| --- | ---: | ---: |\n| dpo | 50.0 ± 1.0 |  |\n| rpo | 62.5 |  |\n\n\
            rpo less each method, run by run, in points; * more than two standard errors\n\n\
            | rpo − | CSR | ISR |\n| --- | ---: | ---: |\n| dpo | +12.5 ± 5.0 * |  |\n| sft | -2.0 ± 2.0 |  |\n";
        assert_eq!(markdown(&table), text);
    }
}
