package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// own is the name of the Node of these tests.
const own = "node-1"

// apiServer is the far end of a Source in memory, so that tests can run in virtual time:
// one Node, with versions, bookmarks and a past that it can forget. What the real one
// says is in lab_test.go.
type apiServer struct {
	// skew is how far its clock goes before ours.
	skew time.Duration

	mu       sync.Mutex
	version  int
	oldest   int // the version from which on the past is known
	node     *corev1.Node
	past     []frame
	streams  map[*stream]bool
	requests []request
	fault    fault
}

// request is one that was sent.
type request struct {
	watch   bool
	version string
	at      time.Time
}

// frame is an event of a watch.
type frame struct {
	version int
	text    []byte
}

// fault answers in the place of the server: with a response, an error of the
// connection, or neither to let the server answer.
type fault func(*http.Request) (*http.Response, error)

// newAPIServer has a Node that nothing is about to happen to.
func newAPIServer() *apiServer {
	s := &apiServer{streams: map[*stream]bool{}, version: 100, oldest: 100}
	s.node = calm()
	s.node.ResourceVersion = "100"
	return s
}

// calm is a Node as it is on an ordinary day.
func calm() *corev1.Node {
	return &corev1.Node{
		TypeMeta:   metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: own, UID: "uid-1", Finalizers: []string{"karpenter.sh/termination"}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory"},
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
		}},
	}
}

// source returns a Source of this server, which is closed at the test's end.
func (s *apiServer) source(t *testing.T) *Source {
	t.Helper()
	// A client-wide timeout would end every watch.
	source, err := New(&rest.Config{Host: "http://nowhere.invalid", Transport: s, Timeout: time.Second}, own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}

// change changes the Node and tells whoever watches.
func (s *apiServer) change(do func(*corev1.Node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s.node)
	s.tell(watch.Modified)
}

// remove deletes the Node.
func (s *apiServer) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(watch.Deleted)
	s.node = nil
}

// create makes a namesake of the Node that was removed.
func (s *apiServer) create(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node = calm()
	s.node.UID = types.UID(uid)
	s.tell(watch.Added)
}

// bookmark tells of another object's change, by its version alone.
func (s *apiServer) bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.send(event(watch.Bookmark, &corev1.Node{
		TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(s.version)},
	}))
}

// forget makes every version that was told so far too old.
func (s *apiServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.oldest, s.past = s.version, nil
}

// tell counts a version on and sends the Node as it is. s.mu is held.
func (s *apiServer) tell(what watch.EventType) {
	s.version++
	s.node.ResourceVersion = strconv.Itoa(s.version)
	text := event(what, s.node)
	s.past = append(s.past, frame{s.version, text})
	s.send(text)
}

func (s *apiServer) send(text []byte) {
	for stream := range s.streams {
		stream.write(text)
	}
}

// say sends text to whoever watches, whatever it is.
func (s *apiServer) say(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(text)
}

// cut ends all watches; nil is the way in which a server does.
func (s *apiServer) cut(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams {
		stream.end(err)
		delete(s.streams, stream)
	}
}

// have sets the fault, or takes it away with nil.
func (s *apiServer) have(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// watched is how many watches are open.
func (s *apiServer) watched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// asked returns the requests since the last call.
func (s *apiServer) asked() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

// RoundTrip implements http.RoundTripper.
func (s *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	query := r.URL.Query()
	asks := request{watch: query.Get("watch") == "true", version: query.Get("resourceVersion"), at: time.Now()}
	s.mu.Lock()
	s.requests = append(s.requests, asks)
	faulty := s.fault
	s.mu.Unlock()
	if faulty != nil {
		if response, err := faulty(r); response != nil || err != nil {
			return response, err
		}
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.URL.Path != "/api/v1/nodes" || query.Get("fieldSelector") != "metadata.name="+own {
		return status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "asked for "+r.URL.String()), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !asks.watch {
		return s.list(), nil
	}
	if query.Get("allowWatchBookmarks") != "true" {
		return status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "watches without bookmarks"), nil
	}
	return s.open(r.Context(), asks.version)
}

func (s *apiServer) list() *http.Response {
	list := corev1.NodeList{
		TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"},
		ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)},
	}
	if s.node != nil {
		list.Items = append(list.Items, *s.node)
	}
	response := reply(http.StatusOK, io.NopCloser(bytes.NewReader(encoded(list))))
	response.Header.Set("Date", time.Now().Add(s.skew).UTC().Format(http.TimeFormat))
	return response
}

func (s *apiServer) open(ctx context.Context, version string) (*http.Response, error) {
	from, err := strconv.Atoi(version)
	if err != nil {
		return nil, err
	}
	if from < s.oldest {
		return status(http.StatusGone, metav1.StatusReasonExpired, "too old resource version"), nil
	}
	body := &stream{ctx: ctx, wake: make(chan struct{}, 1)}
	body.closed = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, body)
	}
	for _, frame := range s.past {
		if frame.version > from {
			body.write(frame.text)
		}
	}
	s.streams[body] = true
	return reply(http.StatusOK, body), nil
}

// stream is the body of a watch.
type stream struct {
	ctx    context.Context //nolint:containedctx // of the request, which the body is read in
	wake   chan struct{}
	closed func()

	mu    sync.Mutex
	text  bytes.Buffer
	ended error
}

func (b *stream) write(text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(text)
	b.rouse()
}

func (b *stream) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended == nil {
		b.ended = io.EOF
		if err != nil {
			b.ended = err
		}
	}
	b.rouse()
}

func (b *stream) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Read implements io.Reader.
func (b *stream) Read(into []byte) (int, error) {
	for {
		b.mu.Lock()
		if b.text.Len() > 0 {
			defer b.mu.Unlock()
			return b.text.Read(into)
		}
		ended := b.ended
		b.mu.Unlock()
		if ended != nil {
			return 0, ended
		}
		select {
		case <-b.wake:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
}

// Close implements io.Closer.
func (b *stream) Close() error {
	b.end(errors.New("the client has gone"))
	b.closed()
	return nil
}

func reply(code int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {runtime.ContentTypeJSON}}, Body: body}
}

// text is a reply of any text.
func text(kind, body string) *http.Response {
	response := reply(http.StatusOK, io.NopCloser(bytes.NewReader([]byte(body))))
	response.Header.Set("Content-Type", kind)
	return response
}

// status is a refusal.
func status(code int, reason metav1.StatusReason, message string) *http.Response {
	return reply(code, io.NopCloser(bytes.NewReader(encoded(refusal(code, reason, message)))))
}

func refusal(code int, reason metav1.StatusReason, message string) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: message, //nolint:gosec // an HTTP status
	}
}

// event is a frame of a watch.
func event(what watch.EventType, object any) []byte {
	return encoded(metav1.WatchEvent{Type: string(what), Object: runtime.RawExtension{Raw: encoded(object)}})
}

func encoded(object any) []byte {
	text, err := json.Marshal(object)
	if err != nil {
		panic(fmt.Sprintf("encoding a %T: %v", object, err))
	}
	return text
}
