import asyncio

import requests
from fastapi import FastAPI
from tenacity import retry

app = FastAPI()


@retry
def weather(city: str) -> dict:
    return requests.get(f"https://weather.example.com/{city}").json()


@app.post("/weather")
async def many(cities: list[str]) -> list[dict]:
    return await asyncio.gather(*[asyncio.to_thread(weather, c) for c in cities])
