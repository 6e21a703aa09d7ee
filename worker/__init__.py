"""The root of what runs beside a GPU; it imports `app`, and `app` never imports it."""
