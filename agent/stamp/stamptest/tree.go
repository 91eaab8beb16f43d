package stamptest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The paths of the protocol, as both clouds name them; only Alibaba Cloud has
// tokens.
const (
	// TokenPath is where a token is fetched by PUT.
	TokenPath = "/latest/api/token" //nolint:gosec // a path, no secret
	// NoticePath is where the moment of the termination appears.
	NoticePath = items + itemNotice
	// InstancePath is where the instance's id is.
	InstancePath = items + itemInstanceID

	items          = "/latest/meta-data/"
	itemInstanceID = "instance-id"
	itemNotice     = "spot/termination-time"

	tokenHeader = "X-Aliyun-Ecs-Metadata-Token" //nolint:gosec // a name, no secret
	ttlHeader   = "X-Aliyun-Ecs-Metadata-Token-Ttl-Seconds"
	longestTTL  = 21600 * time.Second
)

// notice names the notice of a termination. Its content is the moment.
const notice = "spot"

// Refuse implements metadatatest.Cloud.
func (s *Server) Refuse(status int) metadatatest.Reply {
	return metadatatest.Reply{
		Status: status, Kind: "text/html",
		Body: fmt.Sprintf("<html><body><h1>%d - %s</h1></body></html>\n", status, http.StatusText(status)),
	}
}

// Answer implements metadatatest.Cloud.
func (s *Server) Answer(ask metadatatest.Ask) metadatatest.Reply {
	if s.dialect.tokens && ask.URL.Path == TokenPath {
		answer := s.token(ask)
		answer.Role = metadatatest.TokenRole
		return answer
	}
	if ask.Method != http.MethodGet {
		return s.Refuse(http.StatusMethodNotAllowed)
	}
	if s.dialect.tokens && !s.tokens[ask.Header.Get(tokenHeader)].After(ask.Now) {
		return s.Refuse(http.StatusUnauthorized)
	}
	path, found := strings.CutPrefix(ask.URL.Path, items)
	if !found {
		return s.Refuse(http.StatusNotFound)
	}
	if path == itemNotice {
		return s.notice(ask)
	}
	return s.item(path)
}

// token answers a request for a token.
func (s *Server) token(ask metadatatest.Ask) metadatatest.Reply {
	if ask.Method != http.MethodPut {
		return s.Refuse(http.StatusMethodNotAllowed)
	}
	seconds, err := strconv.Atoi(ask.Header.Get(ttlHeader))
	ttl := time.Duration(seconds) * time.Second
	if err != nil || ttl < time.Second || ttl > longestTTL {
		return s.Refuse(http.StatusBadRequest)
	}
	secret := make([]byte, 42)
	_, _ = rand.Read(secret) // never returns an error
	token := base64.URLEncoding.EncodeToString(secret)

	maps.DeleteFunc(s.tokens, func(_ string, ends time.Time) bool { return !ends.After(ask.Now) })
	s.tokens[token] = ask.Now.Add(ttl)
	return metadatatest.Text(token)
}

// notice answers for the item of the termination.
func (s *Server) notice(ask metadatatest.Ask) metadatatest.Reply {
	answer := s.item(itemNotice)
	if at, ok := announced(ask); ok {
		answer = metadatatest.Text(s.stamp(ask, at))
		answer.Tells = []string{notice}
	}
	sample := metadatatest.Text(s.stamp(ask, ask.Now.Add(s.dialect.lead)))
	answer.Role, answer.Sample = metadatatest.NoticeRole, &sample
	return answer
}

func (s *Server) item(path string) metadatatest.Reply {
	if value, found := s.items[path]; found {
		return metadatatest.Text(value)
	}
	return s.Refuse(http.StatusNotFound)
}

// announced is the moment of the termination that can be read now.
func announced(ask metadatatest.Ask) (time.Time, bool) {
	n := ask.Notice(notice)
	if n == nil {
		return time.Time{}, false
	}
	at, ok := n.Content.(time.Time)
	return at, ok
}

// stamp writes a moment of our clock as the cloud does, by its own clock. It knows
// whole seconds only.
func (s *Server) stamp(ask metadatatest.Ask, at time.Time) string {
	return ask.Cloud(at).In(s.dialect.zone).Format(s.dialect.layout)
}
