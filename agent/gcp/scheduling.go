package gcp

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// longestNotice is the most that an extended notice is taken to be. Google
// documents 120 s.
const longestNotice = 10 * time.Minute

// scheduling is what the instance's scheduling options say. They rarely change
// while it runs, so they are read once.
type scheduling struct {
	client *client
	// read says that they have been read; until then, and where they say nothing,
	// the zero values hold.
	read bool
	// tried is when that was last attempted.
	tried time.Time
	// notice is the extended notice of a preemption.
	notice time.Duration
	// action is what host maintenance does to the instance.
	action agent.Action
}

// learn reads the options unless that was done. To read none is no fault:
// without them the least is assumed. It is tried again in a minute, because no key
// is watched meanwhile.
func (s *scheduling) learn(ctx context.Context) {
	if s.read || time.Since(s.tried) < lookAgain {
		return
	}
	s.tried = time.Now()
	reply, err := s.client.look(ctx, folderScheduling, "recursive=true&alt=json")
	if s.read = err == nil || metadata.Answered(err, http.StatusNotFound); !s.read {
		return
	}
	s.notice, s.action = options(reply.Body)
}

// options reads the scheduling folder:
//
//	{"automaticRestart": "FALSE", "onHostMaintenance": "TERMINATE", "preemptible": "TRUE"}
//
// Under which name and in which form an extended notice is among them is not
// documented; the API of Compute Engine has preemptionNoticeDuration, a duration in
// the forms of protocol buffers.
func options(body []byte) (notice time.Duration, action agent.Action) {
	fields := folded(body)
	if notice = duration(fields["preemptionnoticeduration"]); notice > longestNotice {
		notice = 0
	}
	if plain(fields["onhostmaintenance"]) == "MIGRATE" {
		action = agent.Migrate
	}
	return notice, action
}

// folded is a JSON object by names that do not depend on how Google writes them:
// the API has windowStartTime, its metadata window_start_time, and their keys
// window-start-time. What is no object is empty.
func folded(body []byte) map[string]json.RawMessage {
	var object map[string]json.RawMessage
	_ = json.Unmarshal(body, &object) // empty then
	fields := make(map[string]json.RawMessage, len(object))
	for name, value := range object {
		fields[strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name))] = value
	}
	return fields
}

// plain is a JSON string's content; any other value is given as it is written.
func plain(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(value)
}

// duration reads 120, "120", "120s" or {"seconds": 120}; 0 for all else.
func duration(value json.RawMessage) time.Duration {
	text := plain(value)
	if seconds, found := folded(value)["seconds"]; found {
		text = plain(seconds)
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "s"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
