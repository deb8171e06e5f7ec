//! The names of contenders' entries, which decide with whom we stand in one election, and the paths that
//! ZooKeeper can hold.
//!
//! An entry is an ephemeral sequential node: ZooKeeper appends a ten-digit number, counted by the parent
//! (`%010d` of a signed 32-bit integer, so that after 2³¹ entries it is negative). What stands before it is
//! unique to one creation, so that a creation whose answer was lost can be found again.

use std::fmt;

use leadership_core::InvalidInput;
use uuid::Uuid;

/// The longest name of an entry of ours, with the slash before it.
pub(crate) const NAME_BYTES: usize = 58;

/// How the entries of contenders are named: whose elections these are.
///
/// The layouts are *not* in the same election, even under the same node: each looks at the names of its own
/// kind only. Other children of the node are ignored (and logged). A real Curator, by contrast, sorts *all*
/// children, so that an entry of another kind may stand ahead of its own for as long as it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// `_c_<uuid>-latch-<number>`: Apache Curator's `LeaderLatch` (`LeaderLatch.java`, `ProtectedUtils.java`).
    #[default]
    Latch,
    /// `_c_<uuid>-lock-<number>`: Curator's `LeaderSelector` and `InterProcessMutex`, go-zookeeper's `Lock`
    /// (which writes the uuid without dashes) and so docker/leadership.
    Lock,
    /// `<uuid>__lock__<number>`: kazoo's `Election` and `Lock` (`recipe/lock.py`).
    Kazoo,
}

impl Layout {
    /// What stands between the unique part of a name and its number.
    fn base(self) -> &'static str {
        match self {
            Self::Latch => "-latch-",
            Self::Lock => "-lock-",
            Self::Kazoo => "__lock__",
        }
    }

    /// What a new entry is called, up to the number that ZooKeeper appends.
    pub(crate) fn name(self, unique: &Uuid) -> String {
        match self {
            Self::Latch | Self::Lock => format!("_c_{}{}", unique.hyphenated(), self.base()),
            Self::Kazoo => format!("{}{}", unique.simple(), self.base()),
        }
    }

    /// The number of an entry, by which they are in line; `None` if a child is none of this layout.
    pub(crate) fn number(self, child: &str) -> Option<i64> {
        let (unique, number) = child.rsplit_once(self.base())?;
        // kazoo takes every name that ends so for a contender's.
        let is_ours = self == Self::Kazoo || unique.strip_prefix("_c_").is_some_and(is_uuid);
        is_ours.then(|| number_of(number))?
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Latch, Self::Lock, Self::Kazoo]
            .into_iter()
            .find(|layout| layout.to_string() == name)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latch => "latch",
            Self::Lock => "lock",
            Self::Kazoo => "kazoo",
        })
    }
}

/// 32 hexadecimal digits, or 36 characters with the dashes.
fn is_uuid(text: &str) -> bool {
    matches!(text.len(), 32 | 36) && Uuid::try_parse(text).is_ok()
}

/// `%010d`: ten characters or more, of which the first may be a minus.
fn number_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = (10..=19).contains(&text.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Refuses what cannot be (a part of) a path in ZooKeeper; the rules are those of its `PathUtils.java`.
/// `what` names the input.
pub(crate) fn check_path(what: &str, path: &str) -> Result<(), InvalidInput> {
    let refuse = |problem: &str, remedy: &str| {
        Err(InvalidInput::new(
            format!("{what} {path:?}"),
            problem.to_owned(),
            remedy.to_owned(),
        ))
    };
    if path.starts_with('/') || path.ends_with('/') {
        return refuse(
            "it begins or ends with a slash, but is a part of a path in ZooKeeper",
            "leave out the slash",
        );
    }
    for part in path.split('/') {
        match part {
            "" => {
                return refuse(
                    "two slashes leave a node without a name, which ZooKeeper does not allow",
                    "write one slash",
                );
            }
            "." | ".." => {
                return refuse(
                    "ZooKeeper does not allow \".\" and \"..\" as names of nodes",
                    "give the node another name",
                );
            }
            _ => {}
        }
    }
    let forbidden =
        // Java sees what is above as two surrogates.
        |c: &char| matches!(u32::from(*c), 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..);
    if let Some(c) = path.chars().find(forbidden) {
        return refuse(
            &format!(
                "ZooKeeper does not allow the character U+{:04X} in paths",
                u32::from(c)
            ),
            "use letters, digits and / - _ . only",
        );
    }
    Ok(())
}

/// The same for a whole path, without its first slash.
pub(crate) fn check_root(what: &str, path: &str) -> Result<(), InvalidInput> {
    check_path(what, path)?;
    if path.split('/').next() == Some("zookeeper") {
        return Err(InvalidInput::new(
            format!("{what} {path:?}"),
            "the node /zookeeper is ZooKeeper's own",
            "give a prefix, or another name",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DASHED: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    const PLAIN: &str = "1b4e28ba2fa111d2883f0016d3cca427";

    #[test]
    fn names_are_those_of_the_originals() {
        let unique = Uuid::parse_str(DASHED).expect("uuid");
        assert_eq!(Layout::Latch.name(&unique), format!("_c_{DASHED}-latch-"));
        assert_eq!(Layout::Lock.name(&unique), format!("_c_{DASHED}-lock-"));
        assert_eq!(Layout::Kazoo.name(&unique), format!("{PLAIN}__lock__"));
    }

    #[test]
    fn contenders_of_the_layout_are_recognised() {
        for (layout, child, number) in [
            (Layout::Latch, format!("_c_{DASHED}-latch-0000000007"), 7),
            (Layout::Lock, format!("_c_{DASHED}-lock-0000000032"), 32),
            (Layout::Lock, format!("_c_{PLAIN}-lock-0000000033"), 33),
            (
                Layout::Latch,
                format!("_c_{DASHED}-latch--2147483648"),
                -2_147_483_648,
            ),
            (Layout::Latch, format!("_c_{DASHED}-latch--000000001"), -1),
            (
                Layout::Latch,
                format!("_c_{DASHED}-latch-2147483648"),
                2_147_483_648,
            ),
            (Layout::Kazoo, format!("{PLAIN}__lock__0000000001"), 1),
            (Layout::Kazoo, "anything__lock__0000000002".to_owned(), 2),
        ] {
            assert_eq!(layout.number(&child), Some(number), "{child}");
        }
    }

    #[test]
    fn other_children_are_not_contenders() {
        for (layout, child) in [
            (Layout::Latch, format!("_c_{DASHED}-lock-0000000007")),
            (Layout::Lock, format!("_c_{DASHED}-latch-0000000007")),
            (Layout::Lock, format!("{PLAIN}__lock__0000000007")),
            (Layout::Kazoo, format!("_c_{DASHED}-lock-0000000007")),
            (Layout::Kazoo, format!("{PLAIN}__rlock__0000000007")),
            (Layout::Latch, "config".to_owned()),
            (Layout::Latch, format!("{DASHED}-latch-0000000007")),
            (Layout::Latch, format!("_c_{DASHED}-latch-7")),
            (Layout::Latch, format!("_c_{DASHED}-latch-000000000x")),
            (Layout::Latch, format!("_c_{DASHED}-latch-")),
            (Layout::Latch, "_c_x-latch-0000000007".to_owned()),
        ] {
            assert_eq!(layout.number(&child), None, "{child}");
        }
    }

    #[test]
    fn layouts_are_known_by_name() {
        for layout in [Layout::Latch, Layout::Lock, Layout::Kazoo] {
            assert_eq!(Layout::parse(&layout.to_string()), Some(layout));
        }
        assert_eq!(Layout::parse("Latch"), None);
    }

    #[test]
    fn paths_that_zookeeper_cannot_hold_are_refused_with_the_rule_and_the_remedy() {
        for (bad, rule, remedy) in [
            ("/a", "slash", "leave out"),
            ("a/", "slash", "leave out"),
            ("a//b", "without a name", "one slash"),
            ("a/./b", "\"..\"", "another name"),
            ("a/..", "\"..\"", "another name"),
            ("a\u{1}", "U+0001", "letters"),
            ("a\u{0}b", "U+0000", "letters"),
            ("a\u{85}", "U+0085", "letters"),
            ("a\u{e000}", "U+E000", "letters"),
            ("a\u{fffd}", "U+FFFD", "letters"),
            ("a\u{1f980}", "U+1F980", "letters"),
        ] {
            let error = check_path("election name", bad).expect_err(bad).to_string();
            assert!(
                error.contains("election name") && error.contains(rule) && error.contains(remedy),
                "{error}"
            );
        }
        for good in ["a", "a/b", "a b/ä-ö%2F?x=1#y", "...", "a.b", "zookeepers"] {
            check_path("election name", good).expect(good);
        }
        let error = check_root("prefix", "zookeeper/quota")
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("zookeeper/quota")
                && error.contains("ZooKeeper's own")
                && error.contains("prefix"),
            "{error}"
        );
        check_root("path", "p/zookeeper").expect("below a prefix");
    }
}
