"""What a wish for a machine means: its provider and image, and whether it may be granted at all."""

from __future__ import annotations

from jupyter_rmx.errors import UsageError, WorkflowError
from jupyter_rmx.models import VMSpec, check_idempotency_key, check_machine_name
from jupyter_rmx.settings import Settings

IMAGE_MAX = 256


def check_wish(spec: VMSpec, key: str | None) -> None:
    """Refuse a name, key or image that cannot be one."""
    if key is not None:
        check_idempotency_key(key)
    if spec.name is not None:
        check_machine_name(spec.name)
    image = (spec.image or "").strip()
    if len(image) > IMAGE_MAX or not image.isprintable():
        raise UsageError(
            "The image cannot be one.",
            hint=f"An image is up to {IMAGE_MAX} printable characters.",
            code="vm_invalid_request",
            details={"field": "image"},
        )


def provider_of(spec: VMSpec, settings: Settings) -> str:
    """The provider's name: of the wish, else of the settings. WorkflowError `vm_create_disabled` if it is switched off."""
    name = spec.provider if spec.provider is not None else settings.default_provider
    if not name:
        raise UsageError(
            "The provider has no name.",
            hint="Leave it out to use the default one.",
            code="vm_invalid_provider",
            details={"field": "provider"},
        )
    return name


def check_enabled(provider: str, settings: Settings) -> None:
    """WorkflowError `vm_create_disabled` if machines (of this provider) may not be made now."""
    if settings.create_enabled and provider.replace("-", "_") not in settings.disabled_providers:
        return
    what = f"of provider {provider!r} " if settings.create_enabled else ""
    raise WorkflowError(
        f"New machines {what}are switched off here.",
        hint="Those you have go on; ask whoever runs this Jupyter (JUPYTER_RMX_CREATE_ENABLED).",
        code="vm_create_disabled",
        status=503,
    )


def image_of(spec: VMSpec, provider: str, settings: Settings) -> str | None:
    """The image: of the wish, else the provider's setting, else None for the driver's default."""
    asked = (spec.image or "").strip()
    image = asked or settings.images.get(provider.replace("-", "_")) or None
    if settings.allowed_images and image not in settings.allowed_images:
        shown = (
            f"Image {image[:60]!r} is not one of those allowed here." if image else "No image is set here."
        )
        raise WorkflowError(
            shown,
            hint=f"Allowed are: {', '.join(sorted(settings.allowed_images))}.",
            code="vm_image_config_error",
            status=503,
            details={"image_requested": bool(asked)},
        )
    return image
