//! What a training has logged, as curves.

use std::collections::BTreeMap;
use std::fs;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde::Serialize;

use super::State;

/// Points of a curve that a page can show.
const MOST: usize = 400;

/// Steps and values of a metric.
#[derive(Default, Serialize)]
pub(super) struct Curve {
    steps: Vec<f64>,
    values: Vec<f64>,
}

/// `GET /api/curves/{stage}`: each metric of a training, thinned out to what can be seen.
pub(super) async fn curves(
    state: State,
    Path(stage): Path<String>,
) -> Result<Json<BTreeMap<String, Curve>>, StatusCode> {
    let seen = state.latest.now();
    let training = seen.board.trainings.get(&stage).ok_or(StatusCode::NOT_FOUND)?;
    let path = state.site.out.join(&training.folder).join("metrics.jsonl");
    let text = tokio::task::spawn_blocking(move || fs::read_to_string(path)).await;
    let text = text.ok().and_then(Result::ok).unwrap_or_default();
    Ok(Json(read(&text)))
}

fn read(text: &str) -> BTreeMap<String, Curve> {
    let rows: Vec<BTreeMap<String, f64>> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let every = rows.len().div_ceil(MOST).max(1);
    let mut curves: BTreeMap<String, Curve> = BTreeMap::new();
    let last = rows.len().saturating_sub(1);
    for (_, row) in rows.iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last) {
        let Some(step) = row.get("step") else { continue };
        for (name, value) in row.iter().filter(|(name, _)| *name != "step") {
            let curve = curves.entry(name.clone()).or_default();
            curve.steps.push(*step);
            curve.values.push(*value);
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_keep_their_ends_and_are_short_enough() {
        let text: String =
            (1..=1001).map(|step| format!("{{\"step\": {step}, \"loss\": {}}}\n", 1.0 / step as f64)).collect();
        let curves = read(&text);
        let loss = &curves["loss"];
        assert!(loss.steps.len() <= MOST && loss.steps.len() == loss.values.len());
        assert_eq!((loss.steps[0], loss.steps[loss.steps.len() - 1]), (1.0, 1001.0));
        assert!(read("half a li").is_empty());
    }
}
