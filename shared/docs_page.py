"""An OpenAPI document as one page without scripts, which an office without internet can read.

Everything on it comes from the document; the page loads nothing, and its policy forbids it to.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{background:#8882;padding:.1em .3em}pre{overflow:auto;padding:.6rem}"
    "section{border-top:1px solid #8886;padding:.5rem 0}h3{margin:1rem 0 .3rem}"
    "table{border-collapse:collapse}td{padding:.15rem 1rem .15rem 0;vertical-align:top}"
    "nav ul{columns:2;list-style:none;padding:0}:root{color-scheme:light dark}"
    "@media print{nav{display:none}details::details-content{content-visibility:visible}}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

PROBLEM: Final = "application/problem+json"

# What narrows a type, in words around its bound.
_BOUNDS: Final = {
    "minimum": "from {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "default": "{} if left out",
}


def page(document: Mapping[str, Any]) -> str:
    """The page."""
    info = document["info"]
    title = _text(info["title"])
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<meta name=viewport content='width=device-width'><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title} {_text(info['version'])}</h1>"
        f"<p>{_text(info.get('summary', ''))}</p>"
        "<p>For programs: <a href=openapi.json>openapi.json</a> (OpenAPI 3.1). Send"
        " <code>Authorization: Bearer</code> and your token. Leave members and values that you"
        " do not know alone: more may come.</p>"
        f"<nav><h2>What can be asked</h2><ul>{''.join(_entry(*each) for each in operations)}</ul>"
        f"</nav>{''.join(_operation(document, *each) for each in operations)}"
        f"<h2>What it is made of</h2>{''.join(_component(*each) for each in schemas.items())}"
        "</html>"
    )


def _entry(name: str, operation: Mapping[str, Any]) -> str:
    return f"<li><a href='#{operation['operationId']}'><code>{_text(name)}</code></a>"


def _operation(document: Mapping[str, Any], name: str, operation: Mapping[str, Any]) -> str:
    roles = [role for scheme in operation["security"] for role in scheme["bearer"]]
    tokens = f"Tokens: {', '.join(roles)}." if roles else "No token is needed."
    problems = document["components"]["responses"]
    answers = "".join(
        _answer(document, status, problems.get(answer.get("$ref", "").rpartition("/")[2], answer))
        for status, answer in operation["responses"].items()
    )
    return (
        f"<section id='{operation['operationId']}'><h2><code>{_text(name)}</code></h2>"
        f"<p>{_prose(operation.get('summary', ''))}. {tokens}</p>"
        f"<p>{_prose(operation.get('description', ''))}</p>"
        f"{_parameters(operation.get('parameters', []))}"
        f"{_request(document, operation.get('requestBody'))}<h3>Answers</h3>{answers}</section>"
    )


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{_text(each['name'])}</code><td>{_text(each['in'])}"
        f"<td>{_type(each['schema'])}<td>{_prose(each.get('description', ''))}</tr>"
        for each in parameters
    )
    return f"<h3>Parameters</h3><table>{rows}</table>" if rows else ""


def _request(document: Mapping[str, Any], body: Mapping[str, Any] | None) -> str:
    if body is None:
        return ""
    return (
        f"<h3>Body</h3><p>{_prose(body.get('description', ''))}</p>"
        f"{_content(document, body['content'])}"
    )


def _answer(document: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> str:
    headers = "".join(
        f"<br><code>{_text(name)}</code>: {_prose(header['description'])}"
        for name, header in answer.get("headers", {}).items()
        if "description" in header
    )
    said = f"<p><b>{_text(status)}</b> {_prose(answer['description'])}{headers}</p>"
    content = answer.get("content", {})
    # A problem's description says all of it, and every operation has several.
    return said if PROBLEM in content else said + _content(document, content)


def _content(document: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    return "".join(
        f"<details><summary><code>{_text(media_type)}</code> {_type(body['schema'])}</summary>"
        f"{''.join(_example(each) for each in _examples(document, body))}</details>"
        for media_type, body in content.items()
    )


def _examples(document: Mapping[str, Any], body: Mapping[str, Any]) -> list[Any]:
    if "example" in body:
        return [body["example"]]
    kept = document["components"]["examples"]
    return [
        each["value"] if "value" in each else kept[each["$ref"].rpartition("/")[2]]["value"]
        for each in body.get("examples", {}).values()
    ]


def _example(example: Any) -> str:
    is_text = isinstance(example, str)
    written = example if is_text else json.dumps(example, indent=2, ensure_ascii=False)
    return f"<pre>{_text(written)}</pre>"


def _component(name: str, schema: Schema) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{_text(member)}</code><td>{_type(each)}"
        f"<td>{'always' if member in required else 'may be left out'}"
        f"<td>{_prose(each.get('description', ''))}</tr>"
        for member, each in schema.get("properties", {}).items()
    )
    what = f"<table>{rows}</table>" if rows else f"<p>{_type(schema)}</p>"
    return (
        f"<section id='schema-{_text(name)}'><h3><code>{_text(name)}</code></h3>"
        f"<p>{_prose(schema.get('description', ''))}</p>{what}</section>"
    )


def _type(schema: Any) -> str:
    """A schema in a few words; components are links."""
    if not isinstance(schema, Mapping):
        return "anything"
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f"<a href='#schema-{name}'>{name}</a>"
    for several, between in (("allOf", " and "), ("anyOf", " or "), ("oneOf", " or ")):
        if several in schema:
            return between.join(_type(each) for each in schema[several])
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"<code>{_text(json.dumps(value))}</code>" for value in values)
    return _plain_type(schema)


def _plain_type(schema: Schema) -> str:
    kind = schema.get("type", "anything")
    if "x-event-data" in schema:
        kind = f"events with data of {_type(schema['x-event-data'])}"
    elif kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    elif "additionalProperties" in schema and "properties" not in schema:
        kind = f"object of {_type(schema['additionalProperties'])}"
    bounds = [
        words.format(_text(schema[name])) for name, words in _BOUNDS.items() if name in schema
    ]
    said = [schema[name] for name in ("format", "pattern") if name in schema]
    written = [f"<code>{_text(each)}</code>" for each in said]
    return ", ".join([str(kind), *written, *bounds])


def _prose(written: str) -> str:
    """Text in which backquotes mark code."""
    parts = _text(written).split("`")
    return "".join(
        f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts)
    )


def _text(value: Any) -> str:
    return html.escape(str(value))
