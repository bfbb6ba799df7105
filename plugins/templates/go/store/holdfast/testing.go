package holdfast

// TestHost stands for the agent in tests: it answers every request by Answers, and keeps what was sent.
type TestHost struct {
	Answers func(Request) Answer
	Secrets map[string]string
	Sent    []Request
}

func (h *TestHost) Send(request Request) (Answer, error) {
	h.Sent = append(h.Sent, request)
	return h.Answers(request), nil
}

func (h *TestHost) Upload(request Request, body Body) (Answer, uint64, error) {
	for {
		piece, err := body.Read(1 << 20)
		if err != nil {
			return Answer{}, 0, err
		}
		if len(piece) == 0 {
			answer, err := h.Send(request)
			return answer, uint64(len(request.Body)), err
		}
		request.Body = append(request.Body, piece...)
	}
}

func (h *TestHost) Download(request Request) (Download, error) {
	answer, err := h.Send(request)
	left := MemoryBody{Left: answer.Body}
	answer.Body = nil
	return &testDownload{answer, left}, err
}

func (h *TestHost) Secret(name string) (string, error) {
	value, granted := h.Secrets[name]
	if !granted {
		return "", &Error{Code: "denied", Message: "`" + name + "` is not granted"}
	}
	return value, nil
}

func (h *TestHost) State(string) State { panic("there is no state in tests") }

type testDownload struct {
	answer Answer
	left   MemoryBody
}

func (d *testDownload) Head() Answer          { return d.answer }
func (d *testDownload) Read() ([]byte, error) { return d.left.Read(0) }
func (d *testDownload) Close()                {}

// MemoryBody are the bytes of an object to be stored. One that breaks off never says that it is whole.
type MemoryBody struct {
	Left      []byte
	BreaksOff bool
}

func (b *MemoryBody) SizeBytes() (uint64, bool) { return 0, false }

// Read gives two bytes at once: what holds across small pieces holds across large ones.
func (b *MemoryBody) Read(uint32) ([]byte, error) {
	if len(b.Left) == 0 && b.BreaksOff {
		return nil, &Error{Code: "broken", Message: "the body broke off"}
	}
	piece := b.Left[:min(len(b.Left), 2)]
	b.Left = b.Left[len(piece):]
	return piece, nil
}

// MemorySink keeps what is handed on.
type MemorySink struct {
	SizeBytes uint64
	Tag       string
	Bytes     []byte
}

func (s *MemorySink) Begin(sizeBytes uint64, tag string) error {
	s.SizeBytes, s.Tag = sizeBytes, tag
	return nil
}

func (s *MemorySink) Write(bytes []byte) error {
	s.Bytes = append(s.Bytes, bytes...)
	return nil
}
