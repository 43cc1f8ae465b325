//! In: a command line, input blobs, names of outputs. Out: an action's digest and every blob that it consists of. Equal
//! in, equal out: everything is sorted. Never here: a connection, a file.

use crate::digest::{Blob, BlobDigest};
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::google::protobuf;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is to be executed. Every field enters the digest.
#[derive(Clone, Debug, Default)]
pub struct ActionBuilder {
    /// The program, as a path that begins at the input root (`./tool`) or at the worker's root, and its arguments.
    pub arguments: Vec<String>,
    /// Files by their relative paths, as `a/b`.
    pub inputs: BTreeMap<String, Input>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// What the worker must be like. A name may have several values.
    pub platform: BTreeSet<(String, String)>,
    /// Files that the action makes, by their relative paths.
    pub outputs: BTreeSet<String>,
    /// How long it may run on a worker.
    pub timeout: Duration,
    /// Keep the result out of the cache.
    pub do_not_cache: bool,
    /// Makes equal actions different ones: for those who do not want to share a cache's content.
    pub salt: Vec<u8>,
}

/// One input file.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its content.
    pub blob: Blob,
    /// Whether it is a program.
    pub executable: bool,
}

/// Why something cannot be an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// Nothing to run.
    #[error("the action has no arguments, expected a program")]
    NoProgram,
    /// Absolute, or with empty, `.` or `..` parts.
    #[error("invalid path `{path}`, expected names with `/` between them")]
    Path {
        /// As it was given.
        path: String,
    },
    /// One input cannot be inside another.
    #[error("the input `{path}` is both a file and a directory")]
    FileAndDirectory {
        /// The shorter path.
        path: String,
    },
}

impl ActionError {
    /// What the reader can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ActionError::Path { .. } => {
                Some("write paths from the action's root, without a leading `/`, `.` or `..`".to_owned())
            }
            ActionError::NoProgram | ActionError::FileAndDirectory { .. } => None,
        }
    }
}

/// An action, ready to be looked up or executed.
#[derive(Clone, Debug)]
pub struct Action {
    pub(crate) digest: BlobDigest,
    pub(crate) outputs: BTreeSet<String>,
    pub(crate) timeout: Duration,
    /// The messages that describe it: action, command, directories.
    pub(crate) messages: BTreeMap<BlobDigest, Blob>,
    pub(crate) inputs: BTreeMap<BlobDigest, Blob>,
}

impl Action {
    /// Its name in the action cache.
    pub fn digest(&self) -> BlobDigest {
        self.digest
    }

    /// All blobs that a worker needs.
    pub(crate) fn blobs(&self) -> Vec<Blob> {
        self.messages.values().chain(self.inputs.values()).cloned().collect()
    }
}

impl ActionBuilder {
    /// Checks the paths and hashes everything.
    ///
    /// # Errors
    /// [`ActionError`]: without a program, when a path is not names with `/` between them, or when one input is inside of
    /// another that is a file.
    pub fn build(&self) -> Result<Action, ActionError> {
        if self.arguments.is_empty() {
            return Err(ActionError::NoProgram);
        }
        self.outputs.iter().try_for_each(|path| check_path(path))?;
        let mut messages = BTreeMap::new();
        let mut keep = |bytes: Vec<u8>| {
            let blob = Blob::new(bytes);
            let digest = blob.digest();
            messages.insert(digest, blob);
            digest
        };
        let root = self.tree()?.encode(&mut keep);
        let outputs: Vec<_> = self.outputs.iter().cloned().collect();
        // API 2.0 knows only the one, 2.1 and later want the other and ignore the one.
        #[expect(deprecated, reason = "remotes of API 2.0 read nothing else")]
        let command = reapi::Command {
            arguments: self.arguments.clone(),
            environment_variables: self.environment_variables(),
            output_files: outputs.clone(),
            output_paths: outputs,
            platform: self.platform_message(),
            ..reapi::Command::default()
        };
        let command = keep(command.encode_to_vec());
        let action = reapi::Action {
            command_digest: Some(command.to_message()),
            input_root_digest: Some(root.to_message()),
            timeout: Some(protobuf::Duration {
                seconds: i64::try_from(self.timeout.as_secs()).unwrap_or(i64::MAX),
                nanos: self.timeout.subsec_nanos().cast_signed(),
            }),
            do_not_cache: self.do_not_cache,
            salt: self.salt.clone(),
            platform: self.platform_message(),
        };
        let digest = keep(action.encode_to_vec());
        let inputs = self.inputs.values().map(|input| (input.blob.digest(), input.blob.clone())).collect();
        Ok(Action { digest, outputs: self.outputs.clone(), timeout: self.timeout, messages, inputs })
    }

    fn environment_variables(&self) -> Vec<reapi::command::EnvironmentVariable> {
        let pairs = self.environment.iter();
        pairs
            .map(|(name, value)| reapi::command::EnvironmentVariable { name: name.clone(), value: value.clone() })
            .collect()
    }

    /// On both messages: API 2.2 moved it from the command to the action, and remotes of both kinds are around.
    fn platform_message(&self) -> Option<reapi::Platform> {
        let properties = self.platform.iter();
        let properties: Vec<_> = properties
            .map(|(name, value)| reapi::platform::Property { name: name.clone(), value: value.clone() })
            .collect();
        (!properties.is_empty()).then_some(reapi::Platform { properties })
    }

    fn tree(&self) -> Result<Directory<'_>, ActionError> {
        let mut root = Directory::default();
        for (path, input) in &self.inputs {
            check_path(path)?;
            let mut directory = &mut root;
            let mut names = path.split('/').peekable();
            while let Some(name) = names.next() {
                let conflict = || ActionError::FileAndDirectory { path: path.clone() };
                if names.peek().is_none() {
                    if directory.directories.contains_key(name) {
                        return Err(conflict());
                    }
                    directory.files.insert(name, input);
                } else if directory.files.contains_key(name) {
                    return Err(conflict());
                } else {
                    directory = directory.directories.entry(name).or_default();
                }
            }
        }
        Ok(root)
    }
}

fn check_path(path: &str) -> Result<(), ActionError> {
    if path.contains('\0') || path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(ActionError::Path { path: path.to_owned() });
    }
    Ok(())
}

/// A level of the Merkle tree. The maps sort by bytes, which is the order that the protocol requires.
#[derive(Default)]
struct Directory<'a> {
    files: BTreeMap<&'a str, &'a Input>,
    directories: BTreeMap<&'a str, Directory<'a>>,
}

impl Directory<'_> {
    fn encode(&self, keep: &mut impl FnMut(Vec<u8>) -> BlobDigest) -> BlobDigest {
        let files = self.files.iter().map(|(name, input)| reapi::FileNode {
            name: (*name).to_owned(),
            digest: Some(input.blob.digest().to_message()),
            is_executable: input.executable,
            node_properties: None,
        });
        let mut message = reapi::Directory { files: files.collect(), ..reapi::Directory::default() };
        for (name, directory) in &self.directories {
            let digest = Some(directory.encode(keep).to_message());
            message.directories.push(reapi::DirectoryNode { name: (*name).to_owned(), digest });
        }
        keep(message.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        Input { blob: Blob::new(text.as_bytes()), executable: false }
    }

    fn sample() -> ActionBuilder {
        ActionBuilder {
            arguments: vec!["./tool".to_owned(), "in".to_owned()],
            inputs: BTreeMap::from([
                ("tool".to_owned(), Input { executable: true, ..input("program") }),
                ("a/b/c".to_owned(), input("c")),
                ("a.b".to_owned(), input("ab")),
            ]),
            environment: BTreeMap::from([("B".to_owned(), "1".to_owned()), ("A".to_owned(), "2".to_owned())]),
            platform: BTreeSet::from([("OSFamily".to_owned(), "linux".to_owned())]),
            outputs: BTreeSet::from(["out".to_owned()]),
            timeout: Duration::from_millis(1500),
            ..ActionBuilder::default()
        }
    }

    /// The digest is what farms share: a change here makes every cached result unreachable. The value was computed
    /// with Google's own implementation of protocol buffers.
    #[test]
    fn the_action_digest_is_stable() {
        let digest = sample().build().unwrap().digest();
        assert_eq!(digest.to_string(), "5f1248712cfcf8198c6a0d0bbbea515aa9f96a129be3b799d36b703815eaeb44/172");
    }

    #[test]
    #[expect(deprecated, reason = "remotes of API 2.0 read nothing else")]
    fn action_messages_are_complete_and_sorted() {
        let action = sample().build().unwrap();
        let message = reapi::Action::decode(action.messages[&action.digest].bytes()).unwrap();
        let read = |digest: Option<reapi::Digest>| {
            let digest = BlobDigest::from_message(&digest.unwrap()).unwrap();
            action.messages[&digest].bytes()
        };
        let command = reapi::Command::decode(read(message.command_digest.clone())).unwrap();
        assert_eq!(command.platform, message.platform);
        assert_eq!(command.output_files, command.output_paths);
        assert_eq!(command.environment_variables[0].name, "A");
        assert_eq!(message.timeout.unwrap().nanos, 500_000_000);
        let root = reapi::Directory::decode(read(message.input_root_digest)).unwrap();
        let names: Vec<_> = root.files.iter().map(|file| (file.name.as_str(), file.is_executable)).collect();
        assert_eq!(names, [("a.b", false), ("tool", true)]);
        let a = reapi::Directory::decode(read(root.directories[0].digest.clone())).unwrap();
        let b = reapi::Directory::decode(read(a.directories[0].digest.clone())).unwrap();
        assert_eq!(b.files[0].name, "c");
        assert_eq!(action.blobs().len(), 3 + 5, "three inputs; action, command and three directories");
    }

    #[test]
    fn every_field_enters_the_digest() {
        type Change = (&'static str, fn(&mut ActionBuilder));
        let changes: [Change; 10] = [
            ("arguments", |action| action.arguments.push("x".to_owned())),
            ("input", |action| drop(action.inputs.insert("new".to_owned(), input("")))),
            ("input's name", |action| {
                let blob = action.inputs.remove("a.b").unwrap();
                action.inputs.insert("a.c".to_owned(), blob);
            }),
            ("executable", |action| action.inputs.get_mut("tool").unwrap().executable = false),
            ("environment", |action| drop(action.environment.insert("A".to_owned(), "3".to_owned()))),
            ("platform", |action| assert!(action.platform.insert(("cores".to_owned(), "2".to_owned())))),
            ("outputs", |action| assert!(action.outputs.insert("other".to_owned()))),
            ("timeout", |action| action.timeout = Duration::from_secs(2)),
            ("do_not_cache", |action| action.do_not_cache = true),
            ("salt", |action| action.salt = vec![1]),
        ];
        let mut seen = BTreeMap::from([(sample().build().unwrap().digest(), "nothing")]);
        for (name, change) in changes {
            let mut action = sample();
            change(&mut action);
            let same = seen.insert(action.build().unwrap().digest(), name);
            assert_eq!(same, None, "{name} changes nothing");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in ["", "/a", "a/", "a//b", "./a", "a/../b", "a\0"] {
            let mut action = sample();
            action.inputs.insert(path.to_owned(), input(""));
            assert_eq!(action.build().unwrap_err(), ActionError::Path { path: path.to_owned() });
            let mut action = sample();
            action.outputs.insert(path.to_owned());
            assert_eq!(action.build().unwrap_err(), ActionError::Path { path: path.to_owned() });
        }
        for path in ["a", "a/b", "tool/x"] {
            let mut action = sample();
            action.inputs.insert(path.to_owned(), input(""));
            assert!(matches!(action.build(), Err(ActionError::FileAndDirectory { .. })), "{path}");
        }
        assert_eq!(ActionBuilder::default().build().unwrap_err(), ActionError::NoProgram);
    }
}
