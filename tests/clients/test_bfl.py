"""Raw requests to the dialect of Black Forest Labs."""

from tests.support.klein_server import Klein


def test_status_of_unknown_id_and_key_in_x_key(klein: Klein) -> None:
    """An id that this key does not have has a status of its own, and every path below the prefix has the same form of errors."""
    with klein.client() as client:
        client.headers = {"x-key": klein.key}
        unknown = client.get("/bfl/v1/get_result", params={"id": "nothing"})
        assert unknown.json()["status"] == "Task not found"
        created = client.post("/bfl/v1/flux-2-klein-4b", json={"prompt": "x", "steps": 1}).json()
        assert client.get(created["polling_url"]).json()["id"] == created["id"]
        client.headers = {"x-key": klein.other_key}
        assert client.get(created["polling_url"]).json()["status"] == "Task not found"
        assert client.get("/bfl/v1/nothing").json() == {
            "detail": "method not allowed: send OPTIONS, POST"
        }
        assert client.get("/bfl/nothing").status_code == 404
        client.headers = {"x-key": "wrong"}
        refused = client.post("/bfl/v1/flux-2-klein-4b", json={"prompt": "x"})
        assert (refused.status_code, "x-key" in refused.json()["detail"]) == (401, True)
