package aws

import (
	"encoding/json"
	"time"
)

// plain is a JSON string's content. Any other value is given as it is written,
// so that an action of a new form still shows in the log.
func plain(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(value)
}

// moment is zero for what is not a time in that layout, the only one that is documented
// of its item.
func moment(layout, s string) time.Time {
	t, err := time.Parse(layout, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
