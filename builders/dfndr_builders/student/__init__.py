"""Students: small CLIP models trained on replayed views, with what teachers said of them cached."""
