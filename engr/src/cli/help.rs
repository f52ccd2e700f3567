//! Help with an app's commands in groups: clap has groups of options only.

use clap::{Command, CommandFactory};

use super::{App, Top};

/// What the groups are called. A command's group is the tens of its display order.
const GROUPS: [&str; 5] =
    ["Settings", "Releases", "The app's environment", "Looking and running", "The fleet"];

/// The command line without an app. Its help lists the apps' commands too.
pub(super) fn top() -> Command {
    let own = section("Commands without an app", Top::command().get_subcommands());
    let text = [own].into_iter().chain(groups()).collect();
    with_sections(Top::command(), text)
}

/// The commands of `name`.
pub(super) fn app(name: &str) -> Command {
    let command = App::command().name("engr").bin_name(format!("engr {name}"));
    with_sections(command, groups().collect())
}

fn groups() -> impl Iterator<Item = String> {
    GROUPS.iter().enumerate().map(|(group, title)| {
        let app = App::command();
        section(title, app.get_subcommands().filter(|one| one.get_display_order() / 10 == group))
    })
}

/// A title, and a line for each command.
fn section<'a>(title: &str, commands: impl Iterator<Item = &'a Command>) -> String {
    let mut commands: Vec<_> = commands.collect();
    commands.sort_by_key(|command| command.get_display_order());
    let lines = commands.into_iter().map(|command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        format!("  \x1b[1m{:<14}\x1b[0m {about}\n", command.get_name())
    });
    std::iter::once(format!("\x1b[1;4m{title}:\x1b[0m\n")).chain(lines).collect()
}

fn with_sections(command: Command, sections: String) -> Command {
    let sections = sections.replace("\n\x1b[1;4m", "\n\n\x1b[1;4m");
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{sections}\n\x1b[1;4mOptions:\x1b[0m\n\
         {{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let text = top().render_help().to_string();
        for command in App::command().get_subcommands().chain(Top::command().get_subcommands()) {
            let line = format!("\n  {} ", command.get_name());
            assert_eq!(text.matches(&line).count(), 1, "{}:\n{text}", command.get_name());
        }
    }
}
