package awstest

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
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
		"events/maintenance/scheduled":   "[]",
	}
}

// SetItem gives an item under /latest/meta-data/ a value, for instance
// "events/recommendations/rebalance" or "autoscaling/target-lifecycle-state".
// The interruption itself is set by Interrupt.
func (s *Server) SetItem(path, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[path] = value
}

// RemoveItem makes an item answer 404.
func (s *Server) RemoveItem(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, path)
}

// ExpireTokens voids every token handed out, as if their time had come.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// version matches the part of a path that chooses the layout of the metadata.
var version = regexp.MustCompile(`^/(latest|1\.0|\d{4}-\d{2}-\d{2})/(.*)$`)

// honest is what the service answers when there is no fault. s.mu is held.
func (s *Server) honest(r *http.Request, needsToken bool) reply {
	parts := version.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		return refusal(http.StatusNotFound)
	}
	if rest := parts[2]; rest == "api/token" {
		return s.token(r, parts[1])
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return refusal(http.StatusMethodNotAllowed)
	}
	var header map[string]string
	// Where IMDSv1 is on, a token is not asked for, but a wrong one is refused.
	if needsToken || len(r.Header.Values(tokenHeader)) > 0 {
		left := s.tokens[r.Header.Get(tokenHeader)].Sub(s.now())
		if left <= 0 {
			return refusal(http.StatusUnauthorized)
		}
		header = map[string]string{ttlHeader: strconv.Itoa(int(left.Seconds()))}
	}
	path, found := strings.CutPrefix(parts[2], "meta-data")
	if !found || (path != "" && path[0] != '/') {
		return refusal(http.StatusNotFound)
	}
	answer := s.item(strings.Trim(path, "/"))
	answer.header = header
	return answer
}

// token answers the PUT that hands out a token. s.mu is held.
func (s *Server) token(r *http.Request, version string) reply {
	switch {
	case r.Method != http.MethodPut:
		return refusal(http.StatusMethodNotAllowed)
	case version != "latest":
		return refusal(http.StatusForbidden)
	case len(r.Header.Values("X-Forwarded-For")) > 0:
		return refusal(http.StatusForbidden)
	}
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	ttl := time.Duration(seconds) * time.Second
	if err != nil || ttl < time.Second || ttl > longestTTL {
		return refusal(http.StatusBadRequest)
	}
	secret := make([]byte, 42) // 56 characters, as long as a real one
	_, _ = rand.Read(secret)   // never returns an error
	token := base64.URLEncoding.EncodeToString(secret)

	now := s.now()
	maps.DeleteFunc(s.tokens, func(_ string, ends time.Time) bool { return !ends.After(now) })
	s.tokens[token] = now.Add(ttl)
	answer := text(token)
	answer.header = map[string]string{ttlHeader: strconv.Itoa(seconds)}
	return answer
}

// item answers for a path under meta-data. s.mu is held.
func (s *Server) item(path string) reply {
	if n := s.present(); n != nil {
		switch path {
		case itemNotice:
			answer := jsonReply(n.document(s.offset))
			answer.notice = n
			return answer
		case itemTerminationTime:
			// The older item knows terminations only.
			if n.action == "terminate" {
				return text(cloudTime(n.at, s.offset))
			}
		}
	}
	if value, found := s.items[path]; found {
		if strings.HasPrefix(path, "events/") {
			return jsonReply(value)
		}
		return text(value)
	}
	if list := s.list(path); list != "" {
		return text(list)
	}
	return refusal(http.StatusNotFound)
}

// list is the content of a folder, one name a line, folders with a slash; empty
// if there is no such folder. s.mu is held.
func (s *Server) list(folder string) string {
	paths := slices.Collect(maps.Keys(s.items))
	if s.present() != nil {
		paths = append(paths, itemNotice)
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
