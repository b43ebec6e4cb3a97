"""What a container is run with, by the process node."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.devcluster.node_environment import Missing, command_line, expand, variables
from deploy.devcluster.node_volumes import files, token_wanted

NAMES = st.sampled_from(["A", "B", "LONG_NAME", "x.y"])
PIECES = st.lists(st.sampled_from(["$", "$$", "(", ")", "$(A)", "$(B)", "$(NO)", "$(", "A", " ", "$(LONG_NAME)", "$()"]), max_size=12)


def slow_expand(text: str, known: dict[str, str]) -> str:
    """The kubelet's own reading, letter by letter."""
    told, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            told, at = told + text[at], at + 1
        elif text[at + 1] == "$":
            told, at = told + "$", at + 2
        elif text[at + 1] == "(" and ")" in text[at:]:
            end = text.index(")", at)
            name = text[at + 2 : end]
            told, at = told + known.get(name, f"$({name})"), end + 1
        else:
            told, at = told + text[at : at + 2], at + 2
    return told


@given(PIECES, st.dictionaries(NAMES, st.text("ab$()", max_size=4)))
def test_references_are_read_as_the_kubelet_reads_them(pieces: list[str], known: dict[str, str]) -> None:
    text = "".join(pieces)

    assert expand(text, known) == slow_expand(text, known)


def reader(**objects: dict[str, Any]) -> Any:
    return lambda kind, name: objects.get(f"{kind}_{name}")


SECRET = {"data": {"KEY": base64.b64encode(b"s3cret").decode()}}


def test_a_containers_own_line_wins_over_envfrom_and_the_node() -> None:
    container = {"envFrom": [{"secretRef": {"name": "keys"}}], "env": [{"name": "KEY", "value": "mine"}]}

    found = variables({"metadata": {}}, container, reader(Secret_keys=SECRET), {"KEY": "node", "PATH": "/bin"})

    assert found == {"KEY": "mine", "PATH": "/bin"}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param({"secretKeyRef": {"name": "gone", "key": "KEY"}}, id="no secret"),
        pytest.param({"secretKeyRef": {"name": "keys", "key": "OTHER"}}, id="no key"),
        pytest.param({"configMapKeyRef": {"name": "gone", "key": "KEY"}}, id="no config map"),
    ],
)
def test_what_is_missing_is_named_unless_it_is_optional(line: dict[str, Any]) -> None:
    container = {"env": [{"name": "ONE", "valueFrom": line}]}
    kind = next(iter(line))
    optional = {"env": [{"name": "ONE", "valueFrom": {kind: {**line[kind], "optional": True}}}]}
    read = reader(Secret_keys=SECRET)

    with pytest.raises(Missing, match=line[kind]["name"]):
        variables({"metadata": {}}, container, read, {})
    assert variables({"metadata": {}}, optional, read, {}) == {}


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        pytest.param({"resource": "requests.cpu"}, "2", id="rounded up"),
        pytest.param({"resource": "requests.cpu", "divisor": "1m"}, "1500", id="thousandths"),
        pytest.param({"resource": "limits.memory", "divisor": "1Mi"}, "1024", id="mebibytes"),
    ],
)
def test_a_resource_is_told_in_units_of_its_divisor(reference: dict[str, str], told: str) -> None:
    resources = {"requests": {"cpu": "1500m"}, "limits": {"memory": "1Gi"}}
    container = {"env": [{"name": "ONE", "valueFrom": {"resourceFieldRef": reference}}], "resources": resources}

    assert variables({"metadata": {}}, container, reader(), {})["ONE"] == told


def test_args_without_a_command_are_run_as_in_an_image_without_an_entrypoint() -> None:
    assert command_line({"args": ["echo", "$(A)"]}, {"A": "1"}) == ["echo", "1"]
    assert command_line({"command": ["echo"], "args": ["a"]}, {}) == ["echo", "a"]
    assert command_line({}, {}) == []


def test_chosen_keys_of_a_projected_secret_become_files() -> None:
    source = {"secret": {"name": "keys", "items": [{"key": "KEY", "path": "sub/key.txt"}, {"key": "NO", "path": "no"}]}}

    assert list(files({"metadata": {}}, source, reader(Secret_keys=SECRET))) == [("sub/key.txt", b"s3cret")]


def test_only_a_pod_with_a_token_of_its_account_gets_a_kubeconfig() -> None:
    volumes = [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {}}]}}]

    assert token_wanted({"spec": {"volumes": volumes}})
    assert not token_wanted({"spec": {"volumes": [{"name": "x", "emptyDir": {}}]}})
    assert not token_wanted({"spec": {}})
