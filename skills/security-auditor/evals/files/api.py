import jwt
from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer

app = FastAPI()
oauth2 = OAuth2PasswordBearer(tokenUrl="token")


def current_user(token: str = Depends(oauth2)):
    return jwt.decode(token, options={"verify_signature": False})


@app.get("/customers")
async def customers(name: str, user=Depends(current_user)):
    return await app.state.pool.fetch(f"SELECT * FROM customers WHERE name = '{name}'")


@app.delete("/customers/{key}")
async def delete_customer(key: int):
    return await app.state.pool.execute("DELETE FROM customers WHERE id = $1", key)
