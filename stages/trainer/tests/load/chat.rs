//! Chat templates against what transformers 5.23 (jinja2 3.1.6) renders, and conversations as tokens.

use std::collections::BTreeMap;
use std::fs;

use obvert_trainer::load::{ChatTemplate, Dialect, Message};
use serde_json::json;

use crate::gguf::{CHATML, Gguf, Meta, add_tokenizer};

fn talk() -> Vec<Message> {
    vec![
        Message::new("system", "Be <brief> & 'kind'."),
        Message::new("user", " Hi, \"you\"\\u003c\n"),
        Message::new("assistant", "Yes? 世界"),
        Message::new("user", "Bye."),
    ]
}

fn variables() -> BTreeMap<String, String> {
    BTreeMap::from([("bos_token".into(), "<s>".into()), ("eos_token".into(), "</s>".into())])
}

fn render(source: &str, generate: bool) -> Result<String, String> {
    let template = ChatTemplate::new(source, variables()).map_err(|e| e.to_string())?;
    template.render(&talk(), generate).map_err(|e| e.to_string())
}

#[test]
fn templates_render_as_in_transformers() {
    let cases = [
        (
            CHATML,
            "<|im_start|>system\nBe <brief> & 'kind'.<|im_end|>\n<|im_start|>user\n Hi, \"you\"\\u003c\n<|im_end|>\n<|im_start|>assistant\nYes? 世界<|im_end|>\n<|im_start|>user\nBye.<|im_end|>\n<|im_start|>assistant\n",
        ),
        // Blocks on their own lines leave nothing behind (trim_blocks, lstrip_blocks); the last line end is dropped.
        (
            "{{ bos_token }}\n  {% for m in messages %}\n    {% if m.role == 'user' %}\n{{ m.content | trim }}{{ eos_token }}\n    {% endif %}\n  {% endfor %}\n",
            "<s>\nHi, \"you\"\\u003c</s>\nBye.</s>\n",
        ),
        (
            "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
            "\"Be <brief> & 'kind'.\"\" Hi, \\\"you\\\"\\\\u003c\\n\"\"Yes? 世界\"\"Bye.\"",
        ),
        ("{{ messages[0] | tojson }}", "{\"role\": \"system\", \"content\": \"Be <brief> & 'kind'.\"}"),
        ("{{ messages[3] | tojson(indent=2) }}", "{\n  \"role\": \"user\",\n  \"content\": \"Bye.\"\n}"),
        (
            "{{ messages[1]['content'].strip().split(',')[0] }} {{ messages[-1].content.upper() }} {{ messages | length }}",
            "Hi BYE. 4",
        ),
        (
            "{{ none }} {{ true }} {{ add_generation_prompt }} {{ tools is none }} {{ tools is not none }}",
            "None True True True False",
        ),
        (
            "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{% if loop.last %}{% break %}{% endif %}{{ m.role }};{% endfor %}",
            "system;assistant;",
        ),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "4"),
        (
            "{% for m in messages[1:] %}{{ m.role[0] }}{% endfor %}{% for m in messages[::-1] %}{{ m['role'][:2] }}{% endfor %}",
            "uauusasussy",
        ),
        (
            "{% macro turn(m) %}[{{ m.role }}]{% endmacro %}{{ turn(messages[0]) }}{{ turn(messages[2]) }}",
            "[system][assistant]",
        ),
        (
            "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %} {%- endfor %}",
            "systemuserassistantuser",
        ),
        (
            "{{ '%s!' | format('a') }} {{ 7 // 2 }} {{ 'a' ~ 1 }} {{ 'x' if messages[0].role != 'user' else 'y' }}",
            "a! 3 a1 x",
        ),
        // Python counts the separators U+001C to U+001F as white space.
        (
            "{{ '\u{1f} a\u{1c} ' | trim }}|{{ '\u{1c} a '.strip() }}|{{ ' a\u{1d}'.lstrip() }}|{{ ' a \u{1e}'.rstrip() }}|{{ 'xax'.strip('x') }}|{{ 'xax' | trim('x') }}",
            "a|a|a\u{1d}| a|a|a",
        ),
        (
            "{{ tools is iterable }} {{ absent is iterable }} {{ messages is iterable }} {{ 'a' is iterable }} {{ 1 is iterable }}",
            "False True True True False",
        ),
        ("{% if not tools %}{{ 'no' }}{% endif %}{{ absent }}{% if absent is defined %}1{% endif %}", "no"),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source, true).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn templates_raise() {
    let cases = [
        ("{{ raise_exception('roles must alternate') }}", "chat template: "),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for m in messages %}", "chat template: "),
        ("{{ absent.role }}", "undefined"),
    ];
    for (source, expected) in cases {
        let message = render(source, true).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_date_is_todays() {
    let year = render("{{ strftime_now('%Y') }}", false).unwrap();
    assert_eq!(year, jiff::Zoned::now().year().to_string());
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}", false).unwrap().len(), 11);
}

#[test]
fn templates_are_found_in_folders() {
    let folder = tempfile::tempdir().unwrap();
    let set = |name: &str, contents: String| fs::write(folder.path().join(name), contents).unwrap();
    let render = || {
        ChatTemplate::open(folder.path()).and_then(|template| template.render(&talk(), true)).map_err(|e| e.to_string())
    };
    assert!(render().unwrap_err().contains("no chat_template"));
    let named = json!([{ "name": "tool_use", "template": "t" }, { "name": "default", "template": "{{ eos_token }}d" }]);
    set("tokenizer_config.json", json!({ "eos_token": { "content": "<e>" }, "chat_template": named }).to_string());
    assert_eq!(render().unwrap(), "<e>d");
    set("tokenizer_config.json", json!({ "bos_token": "<b>", "chat_template": "{{ bos_token }}one" }).to_string());
    assert_eq!(render().unwrap(), "<b>one");
    set("chat_template.jinja", "{{ bos_token }}file".into());
    assert_eq!(render().unwrap(), "<b>file");
}

fn dialect(template: &str) -> Dialect {
    let mut gguf = Gguf::default();
    add_tokenizer(&mut gguf, "smollm", &[("t", "h"), ("th", "e"), (" ", "the")]);
    gguf.set("tokenizer.chat_template", Meta::Text(template.into()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    fs::write(&file, gguf.bytes().0).unwrap();
    Dialect::open(&file).unwrap()
}

#[test]
fn a_pair_ends_with_the_end_of_turn() {
    let template = CHATML.replace("message['content']", "message['content'] | trim");
    for template in
        [CHATML, &template, &(CHATML.to_owned() + "{% if not add_generation_prompt %}<|im_end|>{% endif %}")]
    {
        let dialect = dialect(template);
        let end = dialect.tokenizer.token("<|im_end|>").unwrap();
        for answer in ["1 the", "", "a <|im_end|> b"] {
            let (prompt, response) = dialect.pair(&talk(), answer).unwrap();
            assert_eq!(prompt, dialect.prompt(&talk()).unwrap());
            let text = dialect.tokenizer.decode_with_special(&response).unwrap();
            assert_eq!(text, format!("{answer}<|im_end|>"));
            assert_eq!(response.last(), Some(&end));
        }
    }
}

#[test]
fn an_answer_that_was_cut_has_no_end() {
    let spaced = CHATML.replace("<|im_end|>' + '\n'", " \n<|im_end|>'");
    for template in [CHATML, &spaced] {
        let dialect = dialect(template);
        for answer in ["1 the", "", "a <|im_end|> b"] {
            let (prompt, response) = dialect.pair_cut(&talk(), answer).unwrap();
            assert_eq!(prompt, dialect.prompt(&talk()).unwrap());
            assert_eq!(dialect.tokenizer.decode_with_special(&response).unwrap(), answer);
        }
    }
    // A template without an end of turn will do.
    let endless = dialect(&CHATML.replace("<|im_end|>' + '\n'", "'"));
    let (_, response) = endless.pair_cut(&talk(), "1 the").unwrap();
    assert_eq!(endless.tokenizer.decode(&response).unwrap(), "1 the");
}

/// A folder with the tokenizer of [`dialect`], and what else its files say.
fn folder(template: &str, config: &str, generation: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let set = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    set("tokenizer.json", &dialect(CHATML).tokenizer.to_json().unwrap());
    set("tokenizer_config.json", r#"{"eos_token": "<|im_start|>"}"#);
    set("chat_template.jinja", template);
    set("config.json", config);
    set("generation_config.json", generation);
    folder
}

#[test]
fn every_end_of_a_turn_stops() {
    let stop = |template: &str, config: &str| {
        let folder = folder(template, config, r#"{"eos_token_id": [5, 7]}"#);
        Dialect::open(folder.path()).map(|dialect| dialect.stop().to_vec()).map_err(|e| e.to_string())
    };
    let [start, end] = ["<|im_start|>", "<|im_end|>"].map(|mark| dialect(CHATML).tokenizer.token(mark).unwrap());
    let config = r#"{"eos_token_id": [6, 7]}"#;
    assert_eq!(stop(CHATML, config).unwrap(), [start, 5, 7, 6, end]);
    // Templates that refuse the conversation, or end no turn, add nothing.
    let refusing = "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}".to_owned() + CHATML;
    for template in [&refusing, "{{ messages[-1].content }}"] {
        assert_eq!(stop(template, config).unwrap(), [start, 5, 7, 6]);
    }
    // A mark that only config.json calls one may end the turn.
    let letter = CHATML.replace("<|im_end|>' + '\n'", "\u{1}'");
    assert_eq!(stop(&letter, r#"{"eos_token_id": 1}"#).unwrap(), [start, 5, 7, 1]);
    assert!(stop(CHATML, r#"{"eos_token_id": "x"}"#).unwrap_err().contains("config.json: eos_token_id: \"x\""));
    let gguf = dialect(CHATML);
    assert_eq!((gguf.stop(), gguf.tokenizer.eos()), (&[end][..], &[end][..]));
}

#[test]
fn pairs_that_would_train_something_else_are_refused() {
    let open = |suffix: &str| CHATML.replace("<|im_end|>' + '\n'", suffix);
    let spaced = CHATML.replace("'\n' + message", "' ' + message").replace("assistant\n'", "assistant '");
    let cases = [
        // The space before the answer and its first word become one token.
        (spaced, "the", "the prompt's tokens change"),
        (open("'"), "1", "no end-of-turn token follows"),
        (CHATML.replace("message['content']", "message['content'] | upper"), "one", "not rendered as it is"),
        (CHATML.replace("assistant\n' }}", "assistant\n<think>' }}"), "1", "not how the text with the answer begins"),
    ];
    for (template, answer, expected) in cases {
        let message = dialect(&template).pair(&talk(), answer).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
