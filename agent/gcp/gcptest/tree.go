package gcptest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Root is the folder below which the keys are.
const Root = "/computeMetadata/v1/instance/"

// The paths of the keys that tell of notices.
const (
	PreemptedPath   = Root + preempted
	MaintenancePath = Root + maintenance
	UpcomingPath    = Root + upcoming
)

const (
	flavor = "Metadata-Flavor"
	google = "Google"
)

// forever is how long a request is held that names no end.
const forever = time.Hour

// defaultKeys is what a Spot VM with nothing ahead of it tells about itself.
func defaultKeys() map[string]string {
	return map[string]string{
		"id":                             "4520031799277581759",
		"hostname":                       "ebb-1.europe-west3-a.c.ebbtide.internal",
		"zone":                           "projects/1234567890/zones/europe-west3-a",
		"machine-type":                   "projects/1234567890/machineTypes/n4-standard-4",
		"scheduling/automatic-restart":   "FALSE",
		"scheduling/on-host-maintenance": "TERMINATE",
		"scheduling/preemptible":         "TRUE",
		"scheduling/":                    `{"automaticRestart":"FALSE","onHostMaintenance":"TERMINATE","preemptible":"TRUE"}`,
	}
}

// SetKey gives a key below Root a value; "scheduling/" is what its folder
// answers a recursive request. It also overrules a key that tells of notices.
func (s *Server) SetKey(path, value string) { s.Update(func() { s.keys[path] = value }) }

// RemoveKey makes a key answer 404, unless it tells of a notice.
func (s *Server) RemoveKey(path string) { s.Update(func() { delete(s.keys, path) }) }

// Refuse implements metadatatest.Cloud.
func (s *Server) Refuse(status int) metadatatest.Reply {
	return metadatatest.Reply{
		Status: status, Kind: "text/html; charset=UTF-8", Header: banner(),
		Body: fmt.Sprintf("<!DOCTYPE html>\n<html lang=en>\n<title>Error %d (%s)!!1</title>\n<p><b>%d.</b> <ins>That’s an error.</ins>\n",
			status, http.StatusText(status), status),
	}
}

func banner() map[string]string {
	return map[string]string{flavor: google, "Server": "Metadata Server for VM"}
}

// Answer implements metadatatest.Cloud.
func (s *Server) Answer(ask metadatatest.Ask) metadatatest.Reply {
	key, below := strings.CutPrefix(ask.URL.Path, Root)
	switch {
	case ask.Header.Get(flavor) != google || len(ask.Header.Values("X-Forwarded-For")) > 0:
		return s.Refuse(http.StatusForbidden)
	case ask.Method != http.MethodGet && ask.Method != http.MethodHead:
		return s.Refuse(http.StatusMethodNotAllowed)
	case !below:
		return s.Refuse(http.StatusNotFound)
	}
	answer := s.key(ask, key)
	if answer.Status != http.StatusOK {
		return answer
	}
	sum := sha256.Sum256([]byte(answer.Body))
	answer.Header = banner()
	answer.Header["ETag"] = hex.EncodeToString(sum[:8])
	return s.held(ask, key, answer)
}

// key is the present value.
func (s *Server) key(ask metadatatest.Ask, key string) metadatatest.Reply {
	value, found := s.keys[key]
	calm, tells := none[key]
	switch {
	case !tells && !found:
		return s.Refuse(http.StatusNotFound)
	case !tells:
		return typed(value)
	}
	sample := typed(map[string]string{
		preempted: "TRUE", maintenance: "MIGRATE" + "_ON_HOST_MAINTENANCE", upcoming: plan{"PENDING", ask.Now}.document(ask),
	}[key])
	sample.Header = banner()
	answer := typed(calm)
	switch notice := ask.Notice(key); {
	case found:
		answer = typed(value)
	case notice != nil:
		answer = typed(content(ask, notice))
		answer.Tells = []string{key}
	}
	answer.Role, answer.Sample = metadatatest.NoticeRole, &sample
	return answer
}

// content is what a notice says.
func content(ask metadatatest.Ask, n *metadatatest.Notice) string {
	switch c := n.Content.(type) {
	case string:
		return c
	case plan:
		return c.document(ask)
	}
	return ""
}

func typed(value string) metadatatest.Reply {
	if strings.HasPrefix(value, "{") {
		return metadatatest.JSON(value)
	}
	answer := metadatatest.Text(value)
	answer.Kind = "application/text"
	return answer
}

// held makes an answer wait where it is asked to: until the value is no longer
// that of last_etag or, where none is named, until a notice comes.
func (s *Server) held(ask metadatatest.Ask, key string, answer metadatatest.Reply) metadatatest.Reply {
	query := ask.URL.Query()
	if query.Get("wait_for_change") != "true" || ask.Fault == IgnoredWait {
		return answer
	}
	limit := forever
	if text := query.Get("timeout_sec"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 0 {
			return s.Refuse(http.StatusBadRequest)
		}
		limit = time.Duration(seconds) * s.second
	}
	last := query.Get("last_etag")
	notice := ask.Notice(key)
	if last == "" && notice != nil && notice.From.After(ask.Since) || last != "" && last != answer.Header["ETag"] {
		return answer
	}
	answer.Hold = max(0, limit-ask.Now.Sub(ask.Since))
	return answer
}
