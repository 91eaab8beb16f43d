package awstest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The paths and headers of the protocol, as the EC2 user guide names them.
const (
	// TokenPath is where a token is fetched by PUT.
	TokenPath = "/latest/api/token" //nolint:gosec // a path, no secret
	// NoticePath is where the interruption notice appears.
	NoticePath = "/latest/meta-data/spot/instance-action"

	tokenHeader = "X-Aws-Ec2-Metadata-Token" //nolint:gosec // a name, no secret
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	longestTTL  = 21600 * time.Second

	itemInstanceID      = "instance-id"
	itemNotice          = "spot/instance-action"
	itemTerminationTime = "spot/termination-time"
	itemRebalance       = "events/recommendations/rebalance"
	itemMaintenance     = "events/maintenance/scheduled"
	itemLifecycle       = "autoscaling/target-lifecycle-state"
)

// defaultItems is what a spot instance with nothing ahead of it tells about
// itself. The items that announce something are absent, which is a 404; only
// the list of scheduled events is there and empty.
func defaultItems(instanceID string) map[string]string {
	return map[string]string{
		itemInstanceID:                   instanceID,
		"instance-type":                  "m7g.large",
		"instance-life-cycle":            "spot",
		"placement/availability-zone":    "eu-central-1a",
		"placement/availability-zone-id": "euc1-az2",
		"placement/region":               "eu-central-1",
		itemMaintenance:                  "[]",
	}
}

// SetItem gives an item under /latest/meta-data/ a value, to the letter. What is
// announced by Interrupt, Rebalance, Schedule and Target goes before it.
func (s *Server) SetItem(path, value string) {
	s.Update(func() { s.items[path] = value })
}

// RemoveItem makes an item answer 404.
func (s *Server) RemoveItem(path string) {
	s.Update(func() { delete(s.items, path) })
}

// ExpireTokens voids every token handed out, as if their time had come.
func (s *Server) ExpireTokens() { s.Update(s.VoidTokens) }

// VoidTokens implements metadatatest.TokenVoider; tests call ExpireTokens.
func (s *Server) VoidTokens() { clear(s.tokens) }

// version matches the part of a path that chooses the layout of the metadata.
var version = regexp.MustCompile(`^/(latest|1\.0|\d{4}-\d{2}-\d{2})/(.*)$`)

// Answer implements metadatatest.Cloud.
func (s *Server) Answer(ask metadatatest.Ask) metadatatest.Reply {
	answer := s.honest(ask)
	if answer.Header == nil {
		answer.Header = map[string]string{}
	}
	answer.Header["Server"] = banner
	return answer
}

// banner is how the real service calls itself.
const banner = "EC2ws"

// Refuse implements metadatatest.Cloud. The page that the real service sends says
// no more than the status.
func (s *Server) Refuse(status int) metadatatest.Reply {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	return metadatatest.Reply{
		Status: status,
		Kind:   "text/html",
		Header: map[string]string{"Server": banner},
		Body: `<?xml version="1.0" encoding="iso-8859-1"?>
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + title + `</title>
 </head>
 <body>
  <h1>` + title + `</h1>
 </body>
</html>
`,
	}
}

// honest is what the service answers when there is no fault, but for its banner.
func (s *Server) honest(r metadatatest.Ask) metadatatest.Reply {
	parts := version.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		return s.Refuse(http.StatusNotFound)
	}
	if rest := parts[2]; rest == "api/token" {
		answer := s.token(r, parts[1])
		answer.Role = metadatatest.TokenRole
		return answer
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return s.Refuse(http.StatusMethodNotAllowed)
	}
	var header map[string]string
	// Where IMDSv1 is on, a token is not asked for, but a wrong one is refused.
	if needsToken(r.Fault) || len(r.Header.Values(tokenHeader)) > 0 {
		left := s.tokens[r.Header.Get(tokenHeader)].Sub(r.Now)
		if left <= 0 {
			return s.Refuse(http.StatusUnauthorized)
		}
		header = map[string]string{ttlHeader: strconv.Itoa(int(left.Seconds()))}
	}
	path, found := strings.CutPrefix(parts[2], "meta-data")
	if !found || (path != "" && path[0] != '/') {
		return s.Refuse(http.StatusNotFound)
	}
	answer := s.item(r, strings.Trim(path, "/"))
	answer.Header = header
	return answer
}

// token answers the PUT that hands out a token.
func (s *Server) token(r metadatatest.Ask, version string) metadatatest.Reply {
	switch {
	case r.Method != http.MethodPut:
		return s.Refuse(http.StatusMethodNotAllowed)
	case version != "latest":
		return s.Refuse(http.StatusForbidden)
	case len(r.Header.Values("X-Forwarded-For")) > 0:
		return s.Refuse(http.StatusForbidden)
	}
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	ttl := time.Duration(seconds) * time.Second
	if err != nil || ttl < time.Second || ttl > longestTTL {
		return s.Refuse(http.StatusBadRequest)
	}
	secret := make([]byte, 42) // 56 characters, as long as a real one
	_, _ = rand.Read(secret)   // never returns an error
	token := base64.URLEncoding.EncodeToString(secret)

	maps.DeleteFunc(s.tokens, func(_ string, ends time.Time) bool { return !ends.After(r.Now) })
	s.tokens[token] = r.Now.Add(ttl)
	answer := metadatatest.Text(token)
	answer.Header = map[string]string{ttlHeader: strconv.Itoa(seconds)}
	return answer
}

// item answers for a path under meta-data.
func (s *Server) item(ask metadatatest.Ask, path string) metadatatest.Reply {
	answer := s.content(ask, path)
	if sample, found := sample(ask, path); found {
		answer.Role, answer.Sample = metadatatest.NoticeRole, &sample
	}
	return answer
}

// sample is what an item would hold with a notice; false for the items that hold none.
func sample(ask metadatatest.Ask, path string) (metadatatest.Reply, bool) {
	soon := ask.Now.Add(2 * time.Minute)
	switch path {
	case itemNotice:
		return metadatatest.JSON(interruption{"terminate", soon}.document(ask)), true
	case itemRebalance:
		return metadatatest.JSON(advice{ask.Now}.document(ask)), true
	case itemMaintenance:
		event := Event{ID: "instance-event-0ebb71de0ebb71de0", Code: "system-reboot", NotBefore: soon}
		return metadatatest.JSON("[" + event.document(ask) + "]"), true
	case itemLifecycle:
		return metadatatest.Text("Terminated"), true
	}
	return metadatatest.Reply{}, false
}

func (s *Server) content(ask metadatatest.Ask, path string) metadatatest.Reply {
	if answer, announced := announced(ask, path); announced {
		return answer
	}
	if value, found := s.items[path]; found {
		if strings.HasPrefix(path, "events/") {
			return metadatatest.JSON(value)
		}
		return metadatatest.Text(value)
	}
	if list := s.list(ask, path); list != "" {
		return metadatatest.Text(list)
	}
	return s.Refuse(http.StatusNotFound)
}

// announced is what an item holds of the notices that can be read now; false where that
// is nothing.
func announced(ask metadatatest.Ask, path string) (metadatatest.Reply, bool) {
	tell := func(reply metadatatest.Reply, names ...string) (metadatatest.Reply, bool) {
		reply.Tells = names
		return reply, true
	}
	if path == itemMaintenance {
		list, tells := schedule(ask)
		reply, _ := tell(metadatatest.JSON(list), tells...)
		return reply, len(tells) > 0
	}
	notice := ask.Notice(tellers[path])
	if notice == nil {
		return metadatatest.Reply{}, false
	}
	switch content := notice.Content.(type) {
	case interruption:
		switch {
		case path == itemNotice:
			return tell(metadatatest.JSON(content.document(ask)), notice.Name)
		case content.action == "terminate": // the older item knows no others
			return metadatatest.Text(cloudTime(ask, content.at, isoLayout)), true
		}
	case advice:
		return tell(metadatatest.JSON(content.document(ask)), notice.Name)
	case string:
		return tell(metadatatest.Text(content), notice.Name)
	}
	return metadatatest.Reply{}, false
}

// tellers are the items that tell of one notice, and its name.
var tellers = map[string]string{
	itemNotice: spotNotice, itemTerminationTime: spotNotice, itemRebalance: rebalanceNotice, itemLifecycle: lifecycleNotice,
}

// list is the content of a folder, one name a line, folders with a slash; empty
// if there is no such folder.
func (s *Server) list(ask metadatatest.Ask, folder string) string {
	paths := slices.Collect(maps.Keys(s.items))
	for item := range tellers {
		if _, announced := announced(ask, item); announced {
			paths = append(paths, item)
		}
	}
	if folder != "" {
		folder += "/"
	}
	names := map[string]bool{}
	for _, path := range paths {
		name, below := strings.CutPrefix(path, folder)
		if !below {
			continue
		}
		if first, _, nested := strings.Cut(name, "/"); nested {
			name = first + "/"
		}
		names[name] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), "\n")
}
