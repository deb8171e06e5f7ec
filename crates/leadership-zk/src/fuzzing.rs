//! What fuzzing asserts of the names in ZooKeeper: for cargo-fuzz and for tests only.
#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use leadership_core::{ElectionName, Place, SessionId};
use uuid::Uuid;

use crate::client::Servers;
use crate::config::ZkConfig;
use crate::layout::Layout;
use crate::line::{Line, Stands, child_of, node_of};
use crate::reader::Reader;

const LAYOUTS: [Layout; 3] = [Layout::Latch, Layout::Lock, Layout::Kazoo];

fn line(prefix: &str, layout: Layout) -> Option<Line> {
    static SERVERS: OnceLock<Arc<Servers>> = OnceLock::new();
    let config = || ZkConfig::new(["h"]).expect("a host").with_layout(layout);
    let servers = SERVERS.get_or_init(|| Arc::new(Servers::new(&config()).expect("no files")));
    let config = config().with_prefix(prefix);
    config.check().ok()?;
    Some(Line::new(&config, Reader::new(Arc::clone(servers))).expect("a line"))
}

/// A name that is not refused is a path by ZooKeeper's own rules, and an entry's path leads back to it. One name, or a
/// prefix and a name, on lines.
pub fn names(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (prefix, name) = input.split_once('\n').unwrap_or(("", &input));
    let (Ok(election), Some(line)) = (ElectionName::new(name), line(prefix, Layout::Latch)) else {
        return;
    };
    let Ok(node) = line.node("fuzz", &election) else {
        return;
    };
    // PathUtils.validatePath.
    assert!(node.starts_with('/') && node.ends_with(name) && node[1..].starts_with(prefix));
    let refused = |part: &str| matches!(part, "" | "." | "..");
    assert!(!node[1..].split('/').any(refused), "{node}");
    assert!(
        node.encode_utf16()
            .all(|unit| { !matches!(unit, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff) })
    );
    assert_ne!(node.split('/').nth(1), Some("zookeeper"));
    for layout in LAYOUTS {
        let child = format!("{}{:010}", layout.name(&Uuid::nil()), 7);
        let key = format!("{node}/{child}");
        assert_eq!((node_of(&key), child_of(&key)), (&*node, &*child));
    }
}

/// Whatever the children of a node are called, the contenders among them stand in one line, which is the same in
/// whichever order ZooKeeper lists them. Four bytes of a number, then children on lines.
pub fn children(input: &[u8]) {
    let Some((number, rest)) = input.split_first_chunk() else {
        return;
    };
    let number = i32::from_be_bytes(*number);
    let text = String::from_utf8_lossy(rest);
    // No two children have one name, and none has a slash.
    let listed: HashSet<&str> = text.lines().filter(|child| !child.contains('/')).collect();
    for layout in LAYOUTS {
        let ours = format!("{}{number:010}", layout.name(&Uuid::from_u128(1)));
        assert_eq!(layout.number(&ours), Some(i64::from(number)), "{ours}");
        // Layouts are apart.
        for other in LAYOUTS.into_iter().filter(|other| *other != layout) {
            assert_eq!(other.number(&ours), None, "{ours}");
        }
        let others = listed.iter().copied().filter(|child| *child != ours);
        let listed: Vec<String> = others.chain([&*ours]).map(str::to_owned).collect();
        check_line(layout, &listed);
    }
}

fn check_line(layout: Layout, listed: &[String]) {
    static LINES: OnceLock<[Line; 3]> = OnceLock::new();
    let lines = LINES.get_or_init(|| LAYOUTS.map(|layout| line("", layout).expect("a line")));
    let line = lines
        .iter()
        .find(|line| line.layout == layout)
        .expect("one for each");
    let in_line = line.in_order("/e", listed);
    assert!(in_line.is_sorted_by_key(|(number, _)| *number));
    for (number, child) in &in_line {
        assert_eq!(layout.number(child), Some(*number));
    }
    let mut turned = listed.to_vec();
    turned.reverse();
    assert_eq!(
        line.in_order("/e", &turned),
        in_line,
        "the order of the list does not matter"
    );

    let place = |child: &str| Place {
        election: ElectionName::new("e").expect("a name"),
        session: SessionId::new("0x1"),
        key: format!("/e/{child}").into(),
        fence: 1,
    };
    let mut before = None;
    for (at, (_, child)) in in_line.iter().enumerate() {
        match (line.stands(&place(child), listed), before) {
            (Stands::First, None) => {}
            (Stands::Behind(ahead), Some(before)) => {
                assert_eq!(child_of(&ahead.key), before);
                assert_eq!(ahead.leads, at == 1);
            }
            (stands, _) => panic!("{child}: {stands:?}"),
        }
        before = Some(*child);
    }
    // What is no contender stands nowhere.
    for child in listed.iter().filter(|child| layout.number(child).is_none()) {
        assert_eq!(line.stands(&place(child), listed), Stands::Gone);
    }
}

#[cfg(test)]
mod tests {
    fn replay(target: &str, run: fn(&[u8])) {
        let corpus = format!(
            "{}/../leadership-fuzz/corpus/{target}",
            env!("CARGO_MANIFEST_DIR")
        );
        for input in std::fs::read_dir(corpus).expect("the corpus is kept") {
            run(&std::fs::read(input.expect("a file").path()).expect("read"));
        }
    }

    #[test]
    fn the_kept_inputs_hold() {
        replay("names", super::names);
        replay("zk_children", super::children);
    }
}
