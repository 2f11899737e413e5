//! What is written about the settings is what the code reads.

use std::collections::BTreeSet;

use e2e::settings;

#[test]
fn the_table_of_settings_in_the_readme_is_the_codes_own() {
    let readme = std::fs::read_to_string(settings::readme()).expect("the README");

    let expected = settings::with_table(&readme).expect("the markers of the table");

    assert!(
        readme == expected,
        "the README's table of settings is not the code's: run `cargo run -p e2e --example \
         settings_table`"
    );
}

#[test]
fn every_setting_stands_in_the_example_file_with_its_default_and_no_other_does() {
    let example = settings::readme().with_file_name(".env.example");
    let text = std::fs::read_to_string(example).expect(".env.example");
    let (mut written, mut set) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        let bare = line.strip_prefix('#').unwrap_or(line);
        if let Some((name, value)) = bare.split_once('=')
            && name.chars().all(|it| it.is_ascii_uppercase() || it == '_')
        {
            assert!(set.insert(name), "{name} stands there twice");
            written.insert((name, value));
        }
    }

    let settings = settings::all();
    let known: BTreeSet<_> = settings.iter().map(|it| it.description.name).collect();
    let (missing, unknown): (Vec<_>, Vec<_>) =
        (known.difference(&set).collect(), set.difference(&known).collect());
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    for setting in &settings {
        if let Some(default) = setting.default() {
            let name = setting.description.name;
            assert!(written.contains(&(name, default)), "{name}: the default is {default:?}");
        }
    }
}
