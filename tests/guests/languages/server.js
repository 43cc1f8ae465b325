// A wasi:http 0.2 server in JavaScript: /hello, and the request's body back for everything else.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  if (new URL(request.url).pathname === "/hello") return new Response("hello\n");
  return new Response(await request.arrayBuffer());
}
