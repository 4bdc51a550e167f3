//! Configurations, pairs and PEFT adapters: what is read, what is written, and what is refused, with which words.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{MODELS, fill, fixture, json, shared, tiny_config};
use obvert_trainer::loss::Sides;
use obvert_trainer::{
    Adapter, Config, Error, LoraSettings, Model, Projection, Storage, TokenPair, TrainSettings, peft,
};
use serde_json::{Value, json};

#[test]
fn both_forms_of_a_configuration_say_the_same() {
    let Some(shared) = shared("both_forms_of_a_configuration_say_the_same") else {
        return;
    };
    for name in MODELS {
        let read = |file: &str| Config::from_json(&json(&shared.join("fixtures").join(name).join("model").join(file)));
        let config = read("config.json").unwrap();
        assert_eq!(config, read("config_v5.json").unwrap());
        assert_eq!((config.hidden, config.kv_heads, config.head_dim, config.eos.as_slice()), (64, 2, 16, &[2][..]));
        assert_eq!((config.qkv_bias, config.tied), (name == "qwen2", name == "qwen2"));
        assert_eq!(config.rope_scaling.map(|s| s.original_max_positions), (name == "llama31").then_some(64));
    }
}

/// The configuration with one field changed.
fn config_error(field: &str, value: Value) -> String {
    let mut config = json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 37, "hidden_size": 12,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 20,
        "rms_norm_eps": 1e-5, "sliding_window": 4096, "use_sliding_window": false,
    });
    Config::from_json(&config).unwrap();
    config[field] = value;
    Config::from_json(&config).unwrap_err().to_string()
}

#[test]
fn configurations_that_cannot_be_computed_are_refused_by_name() {
    for (field, value, expected) in [
        ("architectures", json!(["MistralForCausalLM"]), "architectures = MistralForCausalLM is not supported: Llama"),
        ("model_type", json!("qwen3"), "model_type = qwen3 is not supported"),
        ("hidden_act", json!("gelu"), "hidden_act = \"gelu\" is not supported: only \"silu\" is"),
        ("layer_types", json!(["full_attention", "sliding_attention"]), "layer_types = \"sliding_attention\""),
        ("attention_bias", json!(true), "attention_bias = true is not supported"),
        ("mlp_bias", json!(true), "mlp_bias = true is not supported"),
        ("quantization_config", json!({"bits": 4}), "quantization_config = {\"bits\":4} is not supported"),
        ("rope_scaling", json!({"type": "yarn", "factor": 4}), "rope_scaling.rope_type = yarn is not supported"),
        ("rope_scaling", json!({"factor": 4}), "rope_scaling.rope_type: missing or not a string"),
        ("rope_parameters", json!({"rope_type": "linear"}), "rope_parameters.rope_type = linear is not supported"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8}), "low_freq_factor: missing"),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor = 0.5 is not supported"),
        (
            "rope_scaling",
            json!({"rope_type": "default", "partial_rotary_factor": 0.25}),
            "partial_rotary_factor = 0.25",
        ),
        (
            "rope_parameters",
            json!({"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": "x"}),
            "partial_rotary_factor = \"x\"",
        ),
        ("rope_theta", json!(0), "rope_theta: 0 is not a positive number"),
        ("num_hidden_layers", json!(0), "num_hidden_layers: 0 is not between 1 and"),
        ("vocab_size", json!(-3), "vocab_size: -3 is not a whole number"),
        ("intermediate_size", json!(1e300), "intermediate_size: 1e+300 is not a whole number"),
        ("hidden_size", json!(u64::MAX), "hidden_size: 18446744073709551615 is not between"),
        ("hidden_size", json!(null), "hidden_size: missing"),
        ("hidden_size", json!(13), "num_attention_heads: 2 does not divide hidden_size 13"),
        ("head_dim", json!(5), "head_dim: 5 is odd"),
        ("num_key_value_heads", json!(3), "num_key_value_heads: 3 does not divide the 2 attention heads"),
        ("tie_word_embeddings", json!("no"), "tie_word_embeddings: \"no\" is neither true nor false"),
        ("eos_token_id", json!([2, "x"]), "eos_token_id: \"x\" is not a token id"),
    ] {
        let found = config_error(field, value);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    let mut sliding = json!({"model_type": "qwen2", "use_sliding_window": true, "max_window_layers": 1});
    sliding.as_object_mut().unwrap().extend([("num_hidden_layers".to_owned(), json!(2))]);
    let found = Config::from_json(&sliding).unwrap_err().to_string();
    assert!(found.starts_with("use_sliding_window = true is not supported"), "{found}");
}

#[test]
fn tensors_of_another_shape_are_named() {
    let config = tiny_config(json!({}));
    let build = |wrong: &str| {
        let mut q = Some(vec![0.5; 144]);
        Model::from_tensors(config.clone(), Storage::F32, |name: &str| match name {
            _ if name == wrong => Ok((vec![3, 4], vec![0.0; 12])),
            "model.embed_tokens.weight" => Ok((vec![37, 12], vec![0.5_f32; 444])),
            "model.layers.0.self_attn.q_proj.weight" => Ok((vec![12, 12], q.take().unwrap())),
            _ => Err(Error::MissingTensor { name: name.to_owned() }),
        })
        .unwrap_err()
        .to_string()
    };
    let expected = "tensor model.layers.0.self_attn.k_proj.weight: expected shape [6, 12], found [3, 4]";
    assert_eq!(build("model.layers.0.self_attn.k_proj.weight"), expected);
    assert_eq!(build(""), "tensor model.layers.0.self_attn.k_proj.weight: missing");
}

#[test]
fn peft_adapters_survive_the_round_trip() {
    let Some(shared) = shared("peft_adapters_survive_the_round_trip") else {
        return;
    };
    for name in MODELS {
        let fixture = fixture::<f32>(&shared, name);
        let folder = tempfile::tempdir().unwrap();
        peft::save(folder.path(), &fixture.adapter, Some("someone/model")).unwrap();
        assert_eq!(peft::load::<f32>(folder.path(), &fixture.model.config).unwrap(), fixture.adapter);
        let (ours, theirs) = ("adapter_config.json", shared.join("fixtures").join(name).join("adapter"));
        let [written, given] = [folder.path(), &theirs].map(|folder| json(&folder.join(ours)));
        assert_eq!(written["base_model_name_or_path"], "someone/model");
        for field in ["r", "lora_alpha", "peft_type", "task_type", "bias", "use_dora", "fan_in_fan_out"] {
            assert_eq!(written[field], given[field], "{field}");
        }
        let sorted = |config: &Value| {
            let mut names: Vec<_> =
                config["target_modules"].as_array().unwrap().iter().map(|n| n.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(sorted(&written), sorted(&given));
        let names = |folder: &std::path::Path| {
            let mut names = common::Tensors::read(&folder.join("adapter_model.safetensors")).names();
            names.sort();
            names
        };
        assert_eq!(names(folder.path()), names(&theirs));
    }
}

#[test]
fn peft_options_that_change_the_result_are_refused() {
    let config = tiny_config(json!({}));
    let folder = tempfile::tempdir().unwrap();
    let mut adapter = Adapter::<f32>::new(&config, &LoraSettings::default(), 1).unwrap();
    fill(&mut adapter, 1);
    peft::save(folder.path(), &adapter, None).unwrap();
    let path = folder.path().join("adapter_config.json");
    let good = json(&path);
    let error = |field: &str, value: Value| {
        let mut config_json = good.clone();
        config_json[field] = value;
        std::fs::write(&path, config_json.to_string()).unwrap();
        peft::load::<f32>(folder.path(), &config).unwrap_err().to_string()
    };
    for (field, value, expected) in [
        ("use_dora", json!(true), "use_dora = true is not supported"),
        ("use_rslora", json!(true), "use_rslora = true is not supported"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save = [\"lm_head\"] is not supported"),
        ("rank_pattern", json!({"q_proj": 4}), "rank_pattern = {\"q_proj\":4} is not supported"),
        ("alpha_pattern", json!({"q_proj": 4}), "alpha_pattern"),
        ("bias", json!("all"), "bias = \"all\" is not supported: only \"none\" is"),
        ("peft_type", json!("IA3"), "peft_type = \"IA3\" is not supported"),
        ("init_lora_weights", json!("pissa"), "init_lora_weights = \"pissa\" is not supported"),
        ("r", json!(4), "lora_A.weight: expected shape [4, 12], found [8, 12]"),
        ("lora_alpha", json!("x"), "lora_alpha: not a number"),
    ] {
        let found = error(field, value);
        assert!(found.contains(expected) && found.contains("adapter_"), "{found}\n{expected}");
    }
}

#[test]
fn new_adapters_repeat_and_change_nothing() {
    let config = tiny_config(json!({}));
    let new = |targets: &[Projection], seed| {
        let settings = LoraSettings { rank: 4, alpha: 8.0, targets: targets.to_vec() };
        Adapter::<f32>::new(&config, &settings, seed).unwrap()
    };
    let (all, some) = (new(&Projection::ALL, 7), new(&[Projection::Q, Projection::Down], 7));
    assert_eq!(all, new(&Projection::ALL, 7));
    assert_ne!(all, new(&Projection::ALL, 8));
    assert_eq!(
        (all.layers[1][0].as_ref(), some.targets()),
        (some.layers[1][0].as_ref(), vec![Projection::Q, Projection::Down])
    );
    let low = all.layers[0][Projection::Down.index()].as_ref().unwrap();
    let bound = 1.0 / 20f32.sqrt();
    assert!(low.b.data.iter().all(|b| *b == 0.0) && low.a.data.iter().all(|a| a.abs() <= bound));
    let greatest = low.a.data.iter().fold(0f32, |m, a| m.max(a.abs()));
    assert!(greatest > 0.9 * bound);
}

#[test]
fn pairs_and_settings_are_checked() {
    let config = tiny_config(json!({"max_position_embeddings": 6}));
    let good = TokenPair { prompt: vec![1, 2], chosen: vec![3], rejected: vec![36], gap: 1.0 };
    good.check(0, &config).unwrap();
    let error = |change: fn(&mut TokenPair)| {
        let mut pair = good.clone();
        change(&mut pair);
        pair.check(4, &config).unwrap_err().to_string()
    };
    assert_eq!(error(|p| p.prompt.clear()), "pair 4: prompt is empty");
    let lacks = |change: fn(&mut TokenPair), sides| {
        let mut pair = good.clone();
        change(&mut pair);
        pair.check_sides(4, sides).err().map(|error| error.to_string())
    };
    assert_eq!(lacks(|p| p.rejected.clear(), Sides::Both).unwrap(), "pair 4: rejected is empty");
    assert_eq!(lacks(|p| p.chosen.clear(), Sides::Chosen).unwrap(), "pair 4: chosen is empty");
    assert_eq!([Sides::Chosen, Sides::Either].map(|sides| lacks(|p| p.rejected.clear(), sides)), [None, None]);
    assert_eq!(error(|p| p.chosen[0] = 37), "pair 4: chosen[0] is token 37, the vocabulary has 37");
    assert_eq!(error(|p| p.chosen = vec![1; 5]), "pair 4: 7 tokens long, the model takes at most 6");
    assert_eq!(error(|p| p.gap = f32::NAN), "pair 4: gap is NaN");
    let settings = |change: fn(&mut TrainSettings)| {
        let mut settings = TrainSettings::default();
        change(&mut settings);
        settings.check().unwrap_err().to_string()
    };
    assert_eq!(settings(|s| s.beta = Some(0.0)), "beta: 0 must be a positive number");
    assert_eq!(settings(|s| s.lr = f64::NAN), "lr: NaN must be a number, 0 or more");
    assert_eq!(settings(|s| s.warmup_ratio = Some(1.5)), "warmup_ratio: 1.5 must be from 0 to 1");
    let unknown = serde_json::from_value::<TrainSettings>(json!({"learning_rate": 1})).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `learning_rate`"), "{unknown}");
}
