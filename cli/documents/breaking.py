"""What a new document of the interface takes from those who build on the one before it.

Pure: two documents in, a list of sentences out. The rule: whoever sends what the old document
allows must still be understood, and whoever reads what the old document promises must still find
it. Of a request nothing may become narrower, of an answer nothing may go missing or change its
type. What is added breaks nothing: readers leave members, values and kinds of events alone that
they do not know.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Document = Mapping[str, Any]
Schema = Mapping[str, Any]

# Limits on what may be sent, and whether a larger one is narrower.
_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_FORMS: Final = ("pattern", "format")

# Where a schema holds another besides its members, and how that is written.
_WITHIN: Final = {"items": "[]", "additionalProperties": "{}", "x-event-data": " event"}

_METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options")


def breaking_openapi(before: Document, after: Document) -> list[str]:
    """What the second document of a service breaks, a sentence each, in the order of the first."""
    return list(dict.fromkeys(_paths(before, after)))


def breaking_asyncapi(before: Document, after: Document) -> list[str]:
    """The same for the topics and webhooks, which others only read."""
    return list(dict.fromkeys(_channels(before, after)))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two versions of one schema: where it stands, the documents that its references are in, and
    whether it is read by others or sent by them."""

    where: str
    before: Document
    after: Document
    is_read: bool
    seen: frozenset[tuple[str, str]] = frozenset()

    def at(self, member: str) -> "_Pair":
        return _Pair(f"{self.where}{member}", self.before, self.after, self.is_read, self.seen)

    def having_seen(self, one: str, other: str) -> "_Pair":
        seen = self.seen | {(one, other)}
        return _Pair(self.where, self.before, self.after, self.is_read, seen)


def _paths(before: Document, after: Document) -> Iterator[str]:
    for path, item in before["paths"].items():
        if path not in after["paths"]:
            yield f"{path} is gone"
            continue
        for method in _METHODS:
            if method not in item:
                continue
            name = f"{method.upper()} {path}"
            if method not in after["paths"][path]:
                yield f"{name} is gone"
            else:
                yield from _operation(
                    name, before, after, item[method], after["paths"][path][method]
                )


def _operation(
    name: str, before: Document, after: Document, old: Document, new: Document
) -> Iterator[str]:
    sent = _Pair(name, before, after, is_read=False)
    yield from _parameters(sent, old.get("parameters", []), new.get("parameters", []))
    yield from _roles(name, old, new)
    yield from _request(sent, old.get("requestBody"), new.get("requestBody"))
    read = _Pair(name, before, after, is_read=True)
    for status, reply in old["responses"].items():
        if status not in new["responses"]:
            # A refusal that no longer happens takes nothing from anybody.
            if status < "400":
                yield f"{name} no longer answers {status}"
            continue
        yield from _reply(
            read.at(f" {status}"),
            _resolved(reply, before),
            _resolved(new["responses"][status], after),
        )


def _parameters(pair: _Pair, old: Sequence[Document], new: Sequence[Document]) -> Iterator[str]:
    known = {(each["in"], each["name"]): each for each in new}
    for each in old:
        found = known.pop((each["in"], each["name"]), None)
        at = pair.at(f" parameter {each['name']}")
        if found is None:
            yield f"{at.where} is gone"
            continue
        if found.get("required", False) and not each.get("required", False):
            yield f"{at.where} must be sent now"
        yield from _schema(at, each["schema"], found["schema"])
    for each in known.values():
        if each.get("required", False):
            yield f"{pair.where} parameter {each['name']} is new and must be sent"


def _roles(name: str, old: Document, new: Document) -> Iterator[str]:
    """Whose tokens may do it; no requirement at all means that nobody needs one."""
    before = {role for each in old.get("security", []) for role in next(iter(each.values()))}
    after = {role for each in new.get("security", []) for role in next(iter(each.values()))}
    if after and not old.get("security"):
        yield f"{name} needs a token now"
    for role in sorted(before - after) if after else []:
        yield f"{name} is no longer for tokens of {role}"


def _request(pair: _Pair, old: Document | None, new: Document | None) -> Iterator[str]:
    at = pair.at(" body")
    if old is None or new is None:
        if new is not None and new.get("required", False):
            yield f"{at.where} is new and must be sent"
        if old is not None:
            yield f"{at.where} is gone"
        return
    if new.get("required", False) and not old.get("required", False):
        yield f"{at.where} must be sent now"
    yield from _content(at, old["content"], new["content"])


def _reply(pair: _Pair, old: Document, new: Document) -> Iterator[str]:
    for header in old.get("headers", {}):
        if header not in new.get("headers", {}):
            yield f"{pair.where} header {header} is gone"
    yield from _content(pair, old.get("content", {}), new.get("content", {}))


def _content(pair: _Pair, old: Document, new: Document) -> Iterator[str]:
    for media_type, body in old.items():
        if media_type not in new:
            yield f"{pair.where} {media_type} is gone"
        else:
            yield from _schema(pair, body["schema"], new[media_type]["schema"])


def _channels(before: Document, after: Document) -> Iterator[str]:
    for name, channel in before["channels"].items():
        found = after["channels"].get(name)
        if found is None:
            yield f"channel {name} is gone"
        else:
            yield from _channel(f"channel {name}", channel, found)
    for name, message in before["components"]["messages"].items():
        found = after["components"]["messages"].get(name)
        if found is not None:
            yield from _message(_Pair(f"{name} ", before, after, is_read=True), message, found)


def _channel(name: str, old: Document, new: Document) -> Iterator[str]:
    if old["address"] != new["address"]:
        yield f"{name} has another address, {new['address']}"
    if old.get("bindings") != new.get("bindings"):
        yield f"{name} has other bindings: keys may be elsewhere now"
    for message in old["messages"]:
        if message not in new["messages"]:
            yield f"{name}: {message} is gone"


def _message(pair: _Pair, old: Document, new: Document) -> Iterator[str]:
    for part in ("payload", "headers"):
        if part in old:
            yield from _schema(pair.at(part), old[part], new.get(part, {}))
    if (key := _key(old)) is not None:
        yield from _schema(pair.at("key"), key, _key(new) or {})


def _key(message: Document) -> Schema | None:
    key: Schema | None = message.get("bindings", {}).get("kafka", {}).get("key")
    return key


def _schema(pair: _Pair, old: Schema, new: Schema) -> Iterator[str]:
    """What is lost between two schemas. References are followed once, so that a schema that
    holds itself comes to an end."""
    names = (old.get("$ref", ""), new.get("$ref", ""))
    if names[0] and names[1]:
        if names in pair.seen:
            return
        pair = pair.having_seen(*names)
    old, new = _flat(old, pair.before), _flat(new, pair.after)
    if _has_choices(old) or _has_choices(new):
        yield from _alternatives(pair, _choices(old), _choices(new))
    else:
        yield from _types(pair, old, new)
        yield from _values(pair, old, new)
        yield from _bounds(pair, old, new)
    yield from _members(pair, old, new)
    for word, mark in _WITHIN.items():
        if isinstance(inner := old.get(word), Mapping):
            yield from _schema(pair.at(mark), inner, _schema_in(new, word))


def _schema_in(schema: Schema, word: str) -> Schema:
    inner = schema.get(word)
    return inner if isinstance(inner, Mapping) else {}


def _has_choices(schema: Schema) -> bool:
    return "oneOf" in schema or "anyOf" in schema


def _resolved(node: Document, document: Document) -> Document:
    """What a local reference stands for."""
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _flat(schema: Schema, document: Document) -> Schema:
    """A schema with its reference followed and its `allOf` laid over each other."""
    resolved = _resolved(schema, document)
    if "allOf" not in resolved:
        return resolved
    joined: dict[str, Any] = {}
    for part in (*resolved["allOf"], {k: v for k, v in resolved.items() if k != "allOf"}):
        joined = _laid_over(joined, _flat(part, document))
    return joined


def _laid_over(below: Schema, above: Schema) -> dict[str, Any]:
    joined = {**below, **above}
    if "properties" in below and "properties" in above:
        members = {**below["properties"]}
        for name, schema in above["properties"].items():
            members[name] = {**members.get(name, {}), **schema}
        joined["properties"] = members
    required = [*below.get("required", []), *above.get("required", [])]
    return joined | ({"required": required} if required else {})


def _choices(schema: Schema) -> list[Schema]:
    found: list[Schema] = schema.get("oneOf") or schema.get("anyOf") or [schema]
    return found


def _alternatives(pair: _Pair, old: list[Schema], new: list[Schema]) -> Iterator[str]:
    """Alternatives of the same name or kind are compared; what may be sent may not lose one, and
    what is read may not gain one that is not an object of its own name, such as null."""
    before = {_name_of(each, pair.before): each for each in old}
    after = {_name_of(each, pair.after): each for each in new}
    for name, schema in before.items():
        if name in after:
            yield from _schema(pair.at(f" ({name})"), schema, after[name])
        elif not pair.is_read:
            yield f"{pair.where} may no longer be {name}"
    if pair.is_read:
        for name in after.keys() - before.keys():
            if not name[:1].isupper():
                yield f"{pair.where} may be {name} now"
        if not before.keys() & after.keys():
            yield f"{pair.where} is no longer {', '.join(before)}"


def _name_of(schema: Schema, document: Document) -> str:
    """How an alternative is told from the others: the name of its component, else its type."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "required" in schema and "properties" not in schema:
        return f"with {', '.join(schema['required'])}"
    return " or ".join(sorted(_type_names(_flat(schema, document)))) or "anything"


def _type_names(schema: Schema) -> set[str]:
    if "type" in schema:
        kind = schema["type"]
        return {kind} if isinstance(kind, str) else set(kind)
    return {_JSON_TYPES.get(type(value), "null") for value in _listed(schema)}


_JSON_TYPES: Final = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
}


def _types(pair: _Pair, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _type_names(old), _type_names(new)
    wider, narrower = (before, after) if pair.is_read else (after, before)
    if not wider or (narrower and narrower <= _with_integers(wider)):
        return
    yield f"{pair.where} is {_either(after)} and was {_either(before)}"


def _with_integers(types: set[str]) -> set[str]:
    return types | ({"integer"} if "number" in types else set())


def _either(types: Iterable[str]) -> str:
    return " or ".join(sorted(types)) or "anything"


def _values(pair: _Pair, old: Schema, new: Schema) -> Iterator[str]:
    """Readers leave new values alone; but one that is always another than before is no news."""
    before, after = _listed(old), _listed(new)
    if pair.is_read:
        if before and after and not any(value in after for value in before):
            yield f"{pair.where} is never {before[0]!r} any more"
        return
    if after and not before:
        yield f"{pair.where} takes certain values alone now"
    for value in before:
        if after and value not in after:
            yield f"{pair.where} no longer takes {value!r}"


def _listed(schema: Schema) -> list[Any]:
    values: list[Any] = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return values


def _bounds(pair: _Pair, old: Schema, new: Schema) -> Iterator[str]:
    """Of what is sent; in an answer they are only told."""
    if pair.is_read:
        return
    for name in _LOWER_BOUNDS:
        if name in new and (name not in old or new[name] > old[name]):
            yield f"{pair.where}: {name} is {new[name]} now"
    for name in _UPPER_BOUNDS:
        if name in new and (name not in old or new[name] < old[name]):
            yield f"{pair.where}: {name} is {new[name]} now"
    for name in _FORMS:
        if name in new and new[name] != old.get(name):
            yield f"{pair.where}: {name} is {new[name]} now"
    if "default" in old and new.get("default") != old["default"]:
        yield f"{pair.where}: left out it means {new.get('default')} now"


def _members(pair: _Pair, old: Schema, new: Schema) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    is_closed = new.get("additionalProperties", True) is False
    for name, schema in before.items():
        at = pair.at(f" .{name}")
        if name in after:
            yield from _schema(at, schema, after[name])
            yield from _presence(at, name, old, new)
        elif pair.is_read or is_closed:
            yield f"{at.where} is gone"
    if not pair.is_read:
        for name in new.get("required", []):
            if name not in before and name not in old.get("required", []):
                yield f"{pair.where} .{name} is new and must be sent"
        if is_closed and old.get("additionalProperties", True) is not False:
            yield f"{pair.where} takes no other members now"


def _presence(at: _Pair, name: str, old: Schema, new: Schema) -> Iterator[str]:
    was, is_now = name in old.get("required", []), name in new.get("required", [])
    if at.is_read and was and not is_now:
        yield f"{at.where} may be left out now"
    if not at.is_read and is_now and not was:
        yield f"{at.where} must be sent now"
