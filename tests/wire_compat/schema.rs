//! Owns the two sets of `.proto` files, and what differs between them by name.
//! Must not know: bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use prost_reflect::prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

use crate::harness::process::cargo;

/// A number that no field has.
const NO_NUMBER: i32 = 19_990_000;

/// Our files.
pub(super) fn ours() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::from_file_descriptor_set(our_files()).unwrap())
}

fn our_files() -> FileDescriptorSet {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = ["envoy", "xds"]
        .into_iter()
        .flat_map(|folder| protos(&root.join(folder)));
    protox::compile(files, [root.clone()]).unwrap()
}

/// The same packages as Envoy has them: `envoy-types` holds the files that it is made from.
pub(super) fn theirs() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let root = envoy_types();
        let includes: Vec<PathBuf> = ["data-plane-api", "xds", "protoc-gen-validate", "googleapis"]
            .into_iter()
            .chain(["opentelemetry-proto", "client_model", "cel-spec/proto"])
            .map(|folder| root.join(folder))
            .collect();
        let folders: BTreeSet<String> = ours()
            .files()
            .filter(|file| is_envoys(file.package_name()))
            .map(|file| file.package_name().replace('.', "/"))
            .collect();
        let of = |folder: &String| {
            let found = includes.iter().map(|include| include.join(folder));
            found.filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        // The folder alone: what lies beneath it is of other packages.
        let files = folders.iter().flat_map(of).flat_map(|folder| {
            let all = protos(&folder);
            all.into_iter()
                .filter(move |file| file.parent() == Some(folder.as_path()))
        });
        let files: Vec<_> = files.collect();
        let mut compiler = protox::Compiler::with_file_resolver(Theirs::new(&includes));
        compiler.include_imports(true).open_files(files).unwrap();
        compiler.descriptor_pool()
    })
}

/// Finds their files, and writes one name out: `common` in `envoy.extensions.filters.http` means
/// `envoy.extensions.common` there, and the compiler takes it for `envoy.extensions.filters.common`.
struct Theirs(ChainFileResolver);

impl Theirs {
    fn new(includes: &[PathBuf]) -> Self {
        let mut chain = ChainFileResolver::new();
        for include in includes {
            chain.add(IncludeFileResolver::new(include.clone()));
        }
        chain.add(GoogleFileResolver::new());
        Self(chain)
    }
}

impl FileResolver for Theirs {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        self.0.resolve_path(path)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let file = self.0.open_file(name)?;
        match file.source() {
            Some(source) if source.contains(" common.ratelimit.v3.") => {
                let whole = " envoy.extensions.common.ratelimit.v3.";
                File::from_source(name, &source.replace(" common.ratelimit.v3.", whole))
            }
            _ => Ok(file),
        }
    }
}

/// Where cargo has put the files.
fn envoy_types() -> PathBuf {
    let output = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "envoy-types");
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    Path::new(manifest).parent().unwrap().join("proto")
}

fn protos(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(protos(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether a package or a message is Envoy's or of xDS, not Google's.
pub(super) fn is_envoys(name: &str) -> bool {
    name.starts_with("envoy.") || name.starts_with("xds.")
}

/// Everything that a message is made of.
pub(super) fn reach(message: &MessageDescriptor, reached: &mut BTreeSet<String>) {
    if !reached.insert(message.full_name().to_owned()) {
        return;
    }
    for field in message.fields() {
        if let Kind::Message(of) = field.kind() {
            reach(&of, reached);
        }
    }
}

/// What our files have that Envoy's have not, or have otherwise.
pub(super) fn differences(ours: &DescriptorPool, theirs: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    for message in ours
        .all_messages()
        .filter(|message| is_envoys(message.full_name()))
    {
        let Some(theirs) = theirs.get_message_by_name(message.full_name()) else {
            found.push(format!("{} is no message of Envoy", message.full_name()));
            continue;
        };
        for field in message.fields() {
            let same = theirs
                .get_field_by_name(field.name())
                .map(|other| signature(&other));
            if same.as_ref() != Some(&signature(&field)) {
                let name = field.full_name();
                found.push(format!(
                    "{name} is {:?}, Envoy's {same:?}",
                    signature(&field)
                ));
            }
        }
    }
    for values in ours
        .all_enums()
        .filter(|values| is_envoys(values.full_name()))
    {
        let Some(theirs) = theirs.get_enum_by_name(values.full_name()) else {
            found.push(format!("{} is no enum of Envoy", values.full_name()));
            continue;
        };
        for value in values.values() {
            let same = theirs
                .get_value_by_name(value.name())
                .map(|other| other.number());
            if same != Some(value.number()) {
                found.push(format!(
                    "{} is {}, Envoy's {same:?}",
                    value.full_name(),
                    value.number()
                ));
            }
        }
    }
    found
}

/// All that decides what a field is on the wire, and which others it excludes.
fn signature(field: &FieldDescriptor) -> (u32, String, String, Option<String>) {
    let kind = match field.kind() {
        Kind::Message(message) if message.is_map_entry() => {
            let of = |part: FieldDescriptor| kind_name(&part.kind());
            let key = of(message.map_entry_key_field());
            format!("map from {key} to {}", of(message.map_entry_value_field()))
        }
        kind => kind_name(&kind),
    };
    let oneof = field
        .containing_oneof()
        .filter(|oneof| !oneof.is_synthetic());
    (
        field.number(),
        kind,
        format!("{:?}", field.cardinality()),
        oneof.map(|oneof| oneof.name().to_owned()),
    )
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(values) => values.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    }
}

/// Our files with one mistake in each copy, and the field it is in: the last field of every file has
/// another number, and its last text is made of bytes.
pub(super) fn broken() -> Vec<(String, DescriptorPool)> {
    let files = our_files();
    let mut found = Vec::new();
    for (index, file) in files
        .file
        .iter()
        .enumerate()
        .filter(|(_, f)| is_envoys(f.package()))
    {
        for mistake in [renumber, retype] {
            let mut copy = files.clone();
            let messages = copy.file[index].message_type.iter_mut().rev();
            let name = messages.filter_map(mistake).next();
            if let Some(name) = name {
                let pool = DescriptorPool::from_file_descriptor_set(copy).unwrap();
                found.push((format!("{}.{name}", file.package()), pool));
            }
        }
    }
    assert!(found.len() > 60, "only {} mistakes were made", found.len());
    found
}

fn renumber(message: &mut DescriptorProto) -> Option<String> {
    let owner = message.name().to_owned();
    let field = message.field.last_mut()?;
    field.number = Some(NO_NUMBER);
    Some(format!("{owner}.{}", field.name()))
}

fn retype(message: &mut DescriptorProto) -> Option<String> {
    use field_descriptor_proto::Type;
    let owner = message.name().to_owned();
    let mut fields = message.field.iter_mut().rev();
    let field = fields.find(|field| field.r#type() == Type::String)?;
    field.set_type(Type::Bytes);
    Some(format!("{owner}.{}", field.name()))
}
