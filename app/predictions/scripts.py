"""The scripts by which the store changes records, each in one step."""

from app.lua.script import load_script

ADD = load_script("add_prediction")
CHECK = load_script("check_limits")
TAKE_NEXT = load_script("take_next")
READ = load_script("read_prediction")
CHANGE = load_script("change_prediction")
END = load_script("end_prediction")
STORE_PREVIEW = load_script("store_preview")
DELETE = load_script("delete_prediction")
CLAIM_DUE = load_script("claim_due")
