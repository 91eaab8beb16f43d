package azuretest

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The paths and versions of the protocol.
const (
	// EventsPath is where the list of events is.
	EventsPath = "/metadata/scheduledevents"
	// NamePath is where the machine's name is.
	NamePath = "/metadata/instance/compute/name"

	eventsVersion = "2020-07-01"
	nameVersion   = "2021-02-01"
)

// Answer implements metadatatest.Cloud.
func (s *Server) Answer(ask metadatatest.Ask) metadatatest.Reply {
	version := ask.URL.Query().Get("api-version")
	switch {
	case ask.URL.Path != EventsPath && ask.URL.Path != NamePath:
		return s.Refuse(http.StatusNotFound)
	case ask.Header.Get("Metadata") != "true" || len(ask.Header.Values("X-Forwarded-For")) > 0:
		return s.Refuse(http.StatusBadRequest)
	case ask.URL.Path == NamePath && ask.Method == http.MethodGet:
		if version != nameVersion || ask.URL.Query().Get("format") != "text" {
			return s.Refuse(http.StatusBadRequest)
		}
		return metadatatest.Text(s.machine)
	case version != eventsVersion:
		return s.Refuse(http.StatusBadRequest)
	case ask.URL.Path == EventsPath && ask.Method == http.MethodGet:
		return s.events(ask)
	case ask.URL.Path == EventsPath && ask.Method == http.MethodPost:
		return s.start(ask)
	}
	return s.Refuse(http.StatusMethodNotAllowed)
}

// Refuse implements metadatatest.Cloud. It is a JSON document, so that a client that
// looks at nothing else takes it for an empty list.
func (s *Server) Refuse(status int) metadatatest.Reply {
	body, _ := json.Marshal(map[string]string{"error": http.StatusText(status)}) //nolint:errchkjson // a string
	return metadatatest.Reply{Status: status, Kind: "application/json; charset=utf-8", Body: string(body)}
}

// events answers with the list of events, once the service is awake.
func (s *Server) events(ask metadatatest.Ask) metadatatest.Reply {
	if s.awakeAt.IsZero() {
		s.awakeAt = ask.Now.Add(s.asleep)
	}
	answer := s.list(ask)
	answer.Hold = max(0, s.awakeAt.Sub(ask.Now))
	return answer
}

// list is the list of events as it is now.
func (s *Server) list(ask metadatatest.Ask) metadatatest.Reply {
	var documents []document
	var now, names []string
	for _, notice := range ask.Notices() {
		if e, ok := notice.Content.(Event); ok {
			d := s.document(ask, e)
			documents = append(documents, d)
			names = append(names, e.ID)
			now = append(now, d.EventID+" "+d.EventStatus)
		}
	}
	if !slices.Equal(now, s.latest) {
		s.incarnation++
		s.latest = now
	}
	answer := metadatatest.JSON(list(s.incarnation, documents))
	answer.Role, answer.Tells = metadatatest.NoticeRole, names
	sample := metadatatest.JSON(list(s.incarnation, []document{s.document(ask, Event{
		ID: "sample", Type: "Preempt", NotBefore: ask.Now.Add(30 * time.Second),
	})}))
	sample.Role = metadatatest.NoticeRole
	answer.Sample = &sample
	return answer
}

// start starts the events that a client has no more need to wait for.
func (s *Server) start(ask metadatatest.Ask) metadatatest.Reply {
	var request struct {
		StartRequests []struct {
			EventID string `json:"EventId"`
		}
	}
	if err := json.NewDecoder(ask.Body).Decode(&request); err != nil || len(request.StartRequests) == 0 {
		return s.Refuse(http.StatusBadRequest)
	}
	for _, r := range request.StartRequests {
		if ask.Notice(r.EventID) == nil {
			return s.Refuse(http.StatusBadRequest)
		}
	}
	for _, r := range request.StartRequests {
		s.begun[r.EventID] = true
		s.requested = append(s.requested, r.EventID)
	}
	return metadatatest.Reply{Status: http.StatusOK, Kind: "application/json; charset=utf-8"}
}
