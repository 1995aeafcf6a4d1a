-- The whole chain of the gateway in OpenResty's idiom, as a fair peer: keyed
-- contexts are kept, digests come from libcrypto through the FFI, counters live
-- in shared dictionaries. Timestamps, digests and order as in docs/performance.md.

local ffi = require "ffi"

ffi.cdef [[
typedef struct { unsigned char opaque[128]; } loadtest_sha256;
int SHA256_Init(loadtest_sha256 *c);
int SHA256_Update(loadtest_sha256 *c, const void *data, size_t len);
int SHA256_Final(unsigned char *out, loadtest_sha256 *c);

typedef struct hmac_ctx_st HMAC_CTX;
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
HMAC_CTX *HMAC_CTX_new(void);
int HMAC_Init_ex(HMAC_CTX *c, const void *key, int len, const EVP_MD *md, void *engine);
int HMAC_Update(HMAC_CTX *c, const unsigned char *data, size_t len);
int HMAC_Final(HMAC_CTX *c, unsigned char *out, unsigned int *len);

int CRYPTO_memcmp(const void *a, const void *b, size_t len);
unsigned char *ngx_hex_dump(unsigned char *dst, unsigned char *src, size_t len);
]]

local C = ffi.C
local digest = ffi.new("unsigned char[32]")
local hex = ffi.new("unsigned char[64]")
local sha = ffi.new("loadtest_sha256")
local mac_length = ffi.new("unsigned int[1]")
local mac = C.HMAC_CTX_new()

local token = "Bearer " .. os.getenv("LOAD_TOKEN")
local secret = os.getenv("LOAD_SIGNING_SECRET")
local tolerance = tonumber(os.getenv("LOAD_SIGNATURE_TOLERANCE"))
local limit = tonumber(os.getenv("LOAD_LIMIT"))
C.HMAC_Init_ex(mac, secret, #secret, C.EVP_sha256(), nil)

local keys = { [os.getenv("LOAD_KEY_DIGEST")] = { id = "tk_live_load0001" } }
local routes = {
    read = { methods = { GET = true, HEAD = true }, bucket = "route:read" },
    pay = { methods = { POST = true }, bucket = "route:pay", signed = true },
}

local limits, signatures = ngx.shared.limits, ngx.shared.signatures
local requests_by_status, latency_buckets = {}, {}
local bounds = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }

local _M = {}

local function refuse(status, code, message)
    ngx.var.refusal = code
    ngx.status = status
    ngx.header.content_type = "application/json"
    ngx.print('{"error":{"type":"', code, '","message":"', message, '","request_id":"', ngx.var.request_id, '"}}')
    return ngx.exit(status)
end

local function sha256_hex(text)
    C.SHA256_Init(sha)
    C.SHA256_Update(sha, text, #text)
    C.SHA256_Final(digest, sha)
    C.ngx_hex_dump(hex, digest, 32)
    return ffi.string(hex, 64)
end

local function signature_of(timestamp, method, target, body)
    local head = timestamp .. "\n" .. method .. "\n" .. target .. "\n"
    C.HMAC_Init_ex(mac, nil, 0, nil, nil)
    C.HMAC_Update(mac, head, #head)
    C.HMAC_Update(mac, body, #body)
    C.HMAC_Final(mac, digest, mac_length)
    C.ngx_hex_dump(hex, digest, 32)
end

local function verify(method)
    local given, timestamp = ngx.var.http_x_signature, ngx.var.http_x_timestamp
    if not given or not timestamp then
        return refuse(401, "signature_missing", "signature headers are missing")
    end
    local at = tonumber(timestamp)
    if not at or math.abs(ngx.time() - at) > tolerance then
        return refuse(401, "signature_expired", "timestamp outside of the tolerance")
    end
    ngx.req.read_body()
    signature_of(timestamp, method, ngx.var.request_uri, ngx.req.get_body_data() or "")
    if #given ~= 64 or C.CRYPTO_memcmp(hex, given, 64) ~= 0 then
        return refuse(401, "signature_invalid", "signature does not match")
    end
    local claimed, why = signatures:safe_add(given, true, at + tolerance - ngx.time())
    if not claimed then
        if why == "exists" then
            return refuse(401, "nonce_replayed", "signature was used before")
        end
        return refuse(503, "dependency_unavailable", "replay store is full")
    end
    ngx.var.signature_valid = "true"
end

-- A fixed window of one second; the entry's own expiry ends it.
local function take(bucket)
    return limit - (limits:incr(bucket, 1, 0, 1) or limit + 1)
end

function _M.judge()
    local presented = ngx.var.http_x_knoxcall_key
    local key = presented and keys[sha256_hex(presented)]
    if not key then
        return refuse(401, "unauthorized", "unknown caller")
    end
    ngx.var.key_id = key.id
    local route = routes[ngx.var.http_x_knoxcall_route]
    if not route then
        return refuse(404, "route_not_found", "no such route")
    end
    local method = ngx.req.get_method()
    if not route.methods[method] then
        return refuse(405, "method_not_allowed", "method is not allowed")
    end
    if ngx.var.allowed ~= "1" then
        return refuse(403, "ip_not_allowed", "address is not allowed")
    end
    local remaining = math.min(take("tenant"), take(route.bucket), take(key.id))
    if remaining < 0 then
        ngx.var.rate_limited = "true"
        return refuse(429, "rate_limited", "limit reached")
    end
    if route.signed then
        verify(method)
    end
    local headers = ngx.header
    headers["X-RateLimit-Limit"] = limit
    headers["X-RateLimit-Remaining"] = remaining
    headers["X-RateLimit-Reset"] = 1
    ngx.var.authorization = token
end

function _M.count()
    local status = ngx.status
    requests_by_status[status] = (requests_by_status[status] or 0) + 1
    local seconds = ngx.now() - ngx.req.start_time()
    for i = 1, #bounds do
        if seconds <= bounds[i] then
            latency_buckets[i] = (latency_buckets[i] or 0) + 1
            return
        end
    end
end

return _M
