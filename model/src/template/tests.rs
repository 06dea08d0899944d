//! Templates in the manner of the four families, rendered as transformers renders them (`fixtures/make_templates.py`).

use serde_json::Value;

use super::{ChatTemplate, Ending, Marks, Message, Seconds, TemplateError};

fn parsed(template: &str) -> Result<ChatTemplate, TemplateError> {
    ChatTemplate::parse(template, Marks { bos: "<s>".to_owned(), eos: "</s>".to_owned() })
}

#[test]
fn conversations_are_rendered_as_transformers_does() {
    let fixture: Value = serde_json::from_str(include_str!("../../fixtures/templates.json")).unwrap();
    for row in fixture["rows"].as_array().unwrap() {
        let name = row["template"].as_str().unwrap();
        let template = parsed(fixture["templates"][name].as_str().unwrap()).unwrap();
        let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
        let ending = if row["prompt"] == true { Ending::Answer } else { Ending::Nothing };
        let found = template.render(&messages, ending, Seconds(1_709_210_096));
        let expected = match row["refused"].as_str() {
            Some(reason) => Err(TemplateError::Refused(reason.to_owned())),
            None => Ok(row["rendered"].as_str().unwrap().to_owned()),
        };
        assert_eq!(found, expected, "{name} {messages:?}");
    }
}

#[test]
fn marks_for_training_keep_their_trimming() {
    let render = |text: &str| parsed(text).unwrap().render(&[], Ending::Nothing, Seconds(0));
    assert_eq!(render("a {%- generation -%} b {% endgeneration %} c"), Ok("ab  c".to_owned()));
    assert_eq!(render("{% raw %}{% generation {% endraw %}"), Ok("{% generation ".to_owned()));
    assert!(matches!(parsed("{% generation %}"), Err(TemplateError::Failed(_))));
}

#[test]
fn what_was_not_given_is_none_and_cannot_be_gone_through() {
    let render = |text: &str| parsed(text).unwrap().render(&[], Ending::Nothing, Seconds(0));
    assert_eq!(
        render("{{ tools is iterable }} {{ messages is iterable }} {{ x | length }}"),
        Ok("False True 0".to_owned())
    );
    assert!(matches!(render("{{ tools | length }}"), Err(TemplateError::Failed(_))));
}

#[test]
fn separators_that_are_not_two_are_refused() {
    let text = "{{ [1] | tojson(separators=(',',)) }}";
    let found = parsed(text).unwrap().render(&[], Ending::Nothing, Seconds(0));
    assert!(matches!(found, Err(TemplateError::Failed(why)) if why.contains("separators are two texts")));
}
