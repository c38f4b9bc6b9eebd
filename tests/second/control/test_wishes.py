"""What a wish means: provider, image, and whether it may be granted."""

import pytest
from given import fails, planes

from jupyter_rmx.control.wishes import IMAGE_MAX, check_enabled, check_wish, image_of, provider_of
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import VMSpec
from jupyter_rmx.settings import Settings


@pytest.fixture
def make(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop) as make:
        yield make


def refused(code, act, *arguments):
    with pytest.raises(RmxError) as caught:
        act(*arguments)
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("key", ["k", "x" * 128, "0f8e-!~"])
def test_keys_of_1_to_128_characters_are_taken(key):
    check_wish(VMSpec(), key)


@pytest.mark.parametrize("key", ["", "x" * 129, "0f8e-…", "a\nb"])
def test_longer_keys_are_refused_and_not_cut(key):
    refused("usage_bad_idempotency_key", check_wish, VMSpec(), key)


@pytest.mark.parametrize("image", ["x" * (IMAGE_MAX + 1), "a\0b", "a\nb", "\ud800"])
def test_images_that_cannot_be_one_are_refused(image):
    assert refused("vm_invalid_request", check_wish, VMSpec(image=image), None).details == {"field": "image"}


def test_an_unknown_provider_is_refused_and_never_replaced():
    settings = Settings(default_provider="local")
    assert provider_of(VMSpec(), settings) == "local"
    assert provider_of(VMSpec(provider="moon"), settings) == "moon"
    assert refused("vm_invalid_provider", provider_of, VMSpec(provider=""), settings).status == 400


@pytest.mark.parametrize(
    ("options", "provider", "enabled"),
    [
        ({}, "fake", True),
        ({"create_enabled": False}, "fake", False),
        ({"disabled_providers": frozenset({"fake"})}, "fake", False),
        ({"disabled_providers": frozenset({"fake"})}, "local", True),
        ({"disabled_providers": frozenset({"my_cloud"})}, "my-cloud", False),
    ],
)
def test_making_can_be_switched_off_for_all_or_by_provider(options, provider, enabled):
    if enabled:
        check_enabled(provider, Settings(**options))
    else:
        assert refused("vm_create_disabled", check_enabled, provider, Settings(**options)).status == 503


@pytest.mark.parametrize(
    ("asked", "images", "image"),
    [
        (None, {}, None),
        ("", {}, None),
        ("  ", {"my_cloud": "set"}, "set"),
        (None, {"my_cloud": "set"}, "set"),
        ("mine", {"my_cloud": "set"}, "mine"),
        (" mine ", {}, "mine"),
        (None, {"other": "set"}, None),
        (None, {"my_cloud": ""}, None),
    ],
)
def test_the_image_is_that_of_the_wish_else_of_the_setting_else_the_drivers(asked, images, image):
    assert image_of(VMSpec(image=asked), "my-cloud", Settings(images=images)) == image


def test_images_that_are_not_allowed_are_refused():
    settings = Settings(allowed_images=frozenset({"good", "fine"}))
    assert image_of(VMSpec(image="good"), "fake", settings) == "good"
    error = refused("vm_image_config_error", image_of, VMSpec(image="bad"), "fake", settings)
    assert (error.status, "fine, good" in error.hint, error.details["image_requested"]) == (503, True, True)
    error = refused("vm_image_config_error", image_of, VMSpec(), "fake", settings)
    assert error.details["image_requested"] is False


async def test_the_image_stands_on_the_row(make):
    plane = make(images={"fake": "set"})
    assert (await plane.control.create(VMSpec("a"))).image == "set"
    assert (await plane.control.create(VMSpec("b", image="mine"))).image == "mine"
    assert (await make().control.create(VMSpec("c"))).image == "fake-image"


async def test_what_is_switched_off_touches_nothing_and_what_is_there_goes_on(make):
    vm = await make().control.create(VMSpec("a"), key="k")
    plane = make(create_enabled=False)
    calls = len(plane.provider.calls())
    await fails("vm_create_disabled", plane.control.create(VMSpec("b")))
    assert len(plane.provider.calls()) == calls
    assert (await plane.use.exec("a", "true", timeout_s=5)).exit_code == 0
    assert (await plane.control.destroy("a")).id == vm.id
