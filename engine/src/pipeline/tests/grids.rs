//! Stages with a grid, and those that read them.

use super::broken::errors;
use super::{GOOD, check};

/// The sound pipeline with this in the place of the setting `turns` of its sessions.
fn with(setting: &str) -> String {
    GOOD.replace("turns = 3", setting)
}

#[test]
fn a_grid_makes_a_stage_for_every_combination() {
    let text = with("grid = { turns = [1, 3], note = [\"a\", \"b\"] }");
    let plan = check(&text, &[]).map_err(|e| e.to_string()).unwrap();
    let made: Vec<_> = plan.stages.iter().filter(|stage| stage.kind == "session").collect();
    let names: Vec<&str> = made.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(
        names,
        ["sessions-turns-1-note-a", "sessions-turns-1-note-b", "sessions-turns-3-note-a", "sessions-turns-3-note-b"]
    );
    assert_eq!(made[1].settings, serde_json::json!({ "turns": 1, "note": "b" }));
    // Whoever reads the stage reads all of them, in its place.
    let index = |name: &str| plan.stages.iter().position(|stage| stage.name == name).unwrap();
    let play = &plan.stages[index("play")];
    let wanted: Vec<usize> = names.iter().map(|name| index(name)).chain([index("next")]).collect();
    assert_eq!(play.from, wanted);
}

#[test]
fn arguments_reach_a_grid() {
    let text = with("grid.turns = [1]");
    let turns = |set: &[&str]| -> Vec<String> {
        let plan = check(&text, set).map_err(|e| e.to_string()).unwrap();
        plan.stages.iter().filter(|s| s.kind == "session").map(|s| s.name.clone()).collect()
    };
    assert_eq!(turns(&[]), ["sessions-turns-1"]);
    assert_eq!(turns(&["sessions.grid.turns=[2, 4]"]), ["sessions-turns-2", "sessions-turns-4"]);
}

#[test]
fn a_grid_that_makes_no_sense_is_reported() {
    let reported = |setting: &str| errors(check(&with(setting), &[]));
    let form = "`grid` is a table of settings, each with a list of values | such as grid = { lr = [1e-3, 2e-3] }";
    for (setting, place) in [("grid = 3", "27:8"), ("grid = {}", "27:8"), ("grid.turns = []", "27:14")] {
        assert_eq!(reported(setting)[0], format!("{place} {form}"), "{setting}");
    }
    assert_eq!(reported("grid.turns = [[1]]")[0], "27:15 `grid.turns` takes numbers, booleans and words");
    assert_eq!(reported("grid.turns = [1, 1]"), ["23:8 its grid makes a second stage of the name `sessions-turns-1`"]);
    assert_eq!(reported("turns = 9\ngrid.turns = [1]")[0], "27:1 `turns` is set beside `grid.turns`");
    // A value is reported where it is written.
    assert_eq!(reported("grid.turns = [1, 99]"), ["27:18 `turns` must be at most 20, found 99"]);
}
